"""A diagnosis in a notebook: an HTML fragment without scripts, for light and dark themes."""

from __future__ import annotations

from imbalance_doctor.findings import Diagnosis
from imbalance_doctor.render.page.markup import asset, findings_section


def as_html(diagnosis: Diagnosis) -> str:
    """The diagnosis as a fragment for ``_repr_html_``."""
    style = f"<style>{asset('findings.css')}</style>"
    return f'{style}<div class="imbalance-doctor">{findings_section(diagnosis)}</div>'
