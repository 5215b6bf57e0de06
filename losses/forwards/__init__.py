"""What a forward may be inside: a compiled graph, a recomputation, torch.func, no gradient."""

from typing import TYPE_CHECKING

from .._exports import exports

if TYPE_CHECKING:
    from . import compiling as compiling
    from . import grad_mode as grad_mode
    from . import late_warning as late_warning
    from . import repeats as repeats

__getattr__, __dir__ = exports(__name__, {})
