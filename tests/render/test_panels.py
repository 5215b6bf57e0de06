from __future__ import annotations

import pytest

from imbalance_doctor.render import panels
from imbalance_doctor.scores import metrics

TAGS = {
    "1 loss": "interval_loss loss nonfinite_count per_class_loss",
    "2 positives": "grad_pos_count live_pos_count pool_pos_count pos_loss_share saturation",
    "3 scores": "easy_share mean_p_true_neg mean_p_true_pos median_negative median_positive negatives "
    "pool_auroc positives score_iqr",
    "4 temperature": "tau_eff temperature",
    "5 threshold": "band_neg_count iid_neg_count t_alpha t_beta threshold",
    "6 pool": "pool_size queue_age queue_fill",
    "7 schedule": "main_weight phase",
    "8 gradient": "neg_grad_norm pos_grad_norm",
}

CHARTS = {
    "band and scores",
    "gradient at the logits",
    "medians of the scores",
    "positives",
    "probability of the true label",
    "temperature and spread of scores",
    "threshold and scores",
    "validation",
}


def test_tags_and_titles_that_users_have_pinned_stay() -> None:
    tags = {f"{group}/{name}" for group, names in TAGS.items() for name in names.split()}
    assert tags <= {*panels.LINES.values(), *panels.HISTOGRAMS.values()}
    assert {chart.title for panel in panels.PANELS for chart in panel.charts} >= CHARTS


def test_charts_are_of_lines_that_are_drawn() -> None:
    for panel in panels.PANELS:
        known = panels.LINES if panel.of == "loss" else metrics.METRICS
        for chart in panel.charts:
            assert known.keys() >= {*chart.keys}, chart.title


def test_of_the_charts_of_a_panel_one_is_shown() -> None:
    recorded = {"pos_score_quantiles", "t_beta", "pos_grad_norm"}
    assert [chart.title for chart in panels.charts("loss", recorded)] == [
        "band and scores",
        "gradient at the logits",
    ]
    assert [chart.title for chart in panels.charts("loss", {"pos_score_quantiles"})] == [
        "medians of the scores"
    ]


@pytest.mark.parametrize("of", panels.CATALOGUES)
def test_what_has_a_panel_is_drawn_or_left_out_by_name(of: str) -> None:
    drawn = {key.split(".")[0] for key in panels.keys(of)}
    unseen = {name for panel in panels.BY_NAME if panel.of == of for name in panel.unseen}
    catalogue = panels.CATALOGUES[of]
    assert not drawn & unseen
    assert unseen <= catalogue.keys()
    shown = {name for name, stat in catalogue.items() if stat.panel and "bin" not in stat.axes}
    assert shown <= drawn | unseen
    assert drawn <= catalogue.keys()


def test_every_family_has_a_group_and_a_panel() -> None:
    named = {stat.panel for of in panels.CATALOGUES.values() for stat in of.values()} - {""}
    shown = {panel.family for panel in panels.BY_NAME} - {""}
    assert named <= shown == panels.GROUPS.keys() - {"logged"}
