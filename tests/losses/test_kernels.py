"""Every regime of the pairwise kernels against the definition: a matrix of all pairs in float64."""

import functools

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from losses.kernels import dense, dispatch, grid, pairwise_auc, small, smooth_ap, smooth_ap_slopes, wide

# What the kernels promise: error of the loss, and of the gradient relative to its largest entry.
TOLERANCE = {torch.float32: (1e-7, 2e-6), torch.float64: (1e-12, 1e-9)}

# Gradients, in units of 1/τ, that are too small to be resolved; the largest possible one is 0.25. In float64
# it is the rounding of the Fourier transform, in float32 that of x = (s_j − s_i)/τ: where only pairs ten and
# more τ apart are left, σ'(x) is off by |x| · 1e-7 of itself.
GRADIENT_FLOOR = {torch.float32: 1e-9, torch.float64: 1e-15}


def pair_matrix(scores, positive, counted, tau):
    """σ and σ' of all pairs of one class: rows are its positives, columns the pool."""
    rows = positive.nonzero()[:, 0]
    x = (scores[None] - scores[rows, None]) / tau
    tail = torch.exp(-x.abs()) / (1 + torch.exp(-x.abs()))
    above = torch.where(x > 0, 1 - tail, tail) * counted
    slope = tail * (1 - tail) * counted
    itself = torch.arange(len(rows)), rows
    above[itself] = 0
    slope[itself] = 0
    return rows, above, slope


def defined_ap(scores, positive, valid, tau, w, a):
    """Loss, gradient and slopes of one class."""
    rows, above, slope = pair_matrix(scores, positive, valid, tau)
    above, slope = above * a, slope * a
    rank_pos = 1 + (above * positive).sum(1)
    rank = rank_pos + (above * ~positive).sum(1)
    share = (w * a)[rows] / (w * a)[rows].sum()
    change = (
        torch.where(positive, -(rank - rank_pos)[:, None], rank_pos[:, None]) * slope / rank[:, None] ** 2
    )
    gradient = share @ change
    gradient[rows] -= share * change.sum(1)
    slopes = torch.zeros_like(scores)
    slopes[rows] = change.sum(1).abs()
    return (share * (rank - rank_pos) / rank).sum(), gradient / tau, slopes


def defined_auc(scores, positive, negative, tau, w, a):
    rows, above, slope = pair_matrix(scores, positive, negative, tau)
    share = (w * a)[rows] / (w * a)[rows].sum() / (a * negative).sum()
    gradient = share @ (slope * a)
    gradient[rows] -= share * (slope * a).sum(1)
    return (share * (above * a).sum(1)).sum(), gradient / tau


def by_class(definition, scores, positive, other, tau, w=None, a=None):
    M, C = scores.shape
    w = torch.ones(M) if w is None else w
    a = torch.ones(M, C) if a is None else a
    results = [
        definition(
            scores[:, c].double(), positive[:, c], other[:, c], float(tau[c]), w.double(), a[:, c].double()
        )
        for c in range(C)
    ]
    return [torch.stack(parts, -1) for parts in zip(*results, strict=True)]


def value_and_gradient(kernel, scores, *arguments, **options):
    scores = scores.detach().clone().requires_grad_()
    loss = kernel(scores, *arguments, **options)
    (gradient,) = torch.autograd.grad(loss.sum(), scores)
    return loss.detach(), gradient


def check(got, expected, tau):
    (loss, gradient), (expected_loss, expected_gradient) = got, expected[:2]
    loss_error, gradient_error = TOLERANCE[loss.dtype]
    torch.testing.assert_close(loss.double(), expected_loss, rtol=0, atol=loss_error)
    largest = expected_gradient.abs().amax(0)
    excess = (gradient.double() - expected_gradient).abs().amax(0) - gradient_error * largest
    assert (excess * tau <= GRADIENT_FLOOR[loss.dtype]).all(), (excess * tau, largest)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@functools.cache
def pool(M=700, C=3, seed=0):
    """Scores, positives, valid rows, negatives, w, a; the last class has a single positive."""
    g = generator(seed)
    positive = torch.rand(M, C, generator=g) < 0.1
    positive[:, -1] = False
    positive[0] = True
    valid = positive | (torch.rand(M, C, generator=g) < 0.8)
    scores = torch.randn(M, C, dtype=torch.float64, generator=g) + positive
    w = torch.rand(M, dtype=torch.float64, generator=g)
    a = 1 + 3 * torch.rand(M, C, dtype=torch.float64, generator=g)
    return scores, positive, valid, valid & ~positive, w, a


FORCED = {
    "dense": ({}, "dense.solve"),
    "tiles": ({"dense.TILE_ELEMENTS": 2**12}, "dense.solve"),
    "grid": (
        {"dispatch.DENSE_PAIR": 1e30, "dispatch.WIDE_ROW": 1e30, "grid.BLOCK_ROWS": 500},
        "grid.plain_cells",
    ),
    "grid, class by class": (
        {"dispatch.DENSE_PAIR": 1e30, "dispatch.WIDE_ROW": 1e30, "dispatch.GROUP_ROWS": 1},
        "grid.plain_cells",
    ),
    "compressed grid": (
        {"dispatch.DENSE_PAIR": 1e30, "dispatch.WIDE_ROW": -1e30, "dispatch.BAND_PAIR": 1e30},
        "wide.compressed_cells",
    ),
    "band": (
        {
            "dispatch.DENSE_PAIR": 1e30,
            "dispatch.WIDE_ROW": -1e30,
            "dispatch.BAND_PAIR": -1e30,
            "wide.PAIR_BLOCK": 1000,
        },
        "wide.solve_band",
    ),
}
# For a single class alone.
SMALL = {
    "small": ({"small.MOST_PAIRS": 1e30}, "small._solve"),
    "small tiles": ({"small.MOST_PAIRS": 1e30, "small.TILE_ELEMENTS": 2**12}, "small._solve"),
}
MODULES = {"dense": dense, "dispatch": dispatch, "grid": grid, "small": small, "wide": wide}


@pytest.fixture(params=FORCED)
def regime(request, monkeypatch):
    """Make one regime look cheapest, whatever the problem, and see that it was taken."""
    constants, entry = {**FORCED, **SMALL}[request.param]
    monkeypatch.setattr(small, "MOST_PAIRS", -1)
    for name, value in constants.items():
        module, constant = name.split(".")
        monkeypatch.setattr(MODULES[module], constant, value)
    module, function = entry.split(".")
    taken = []
    original = getattr(MODULES[module], function)
    monkeypatch.setattr(MODULES[module], function, lambda *args: taken.append(1) or original(*args))
    yield request.param
    assert taken, f"the regime {request.param!r} was not used"


@pytest.mark.parametrize("weights", ["no weights", "value weights", "row weights", "both"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_smooth_ap_is_its_definition(regime, dtype, weights):
    scores, positive, valid, _, w, a = pool()
    scores = scores.to(dtype)
    w = w if weights in ("value weights", "both") else None
    a = a.to(dtype) if weights in ("row weights", "both") else None
    for tau in (0.01, 0.3, 10.0):
        expected = by_class(defined_ap, scores, positive, valid, [tau] * 3, w, a)
        got = value_and_gradient(smooth_ap, scores, positive, valid, tau, pos_weight=w, row_weight=a)
        check(got, expected, tau)
        slopes = smooth_ap_slopes(scores, positive, valid, tau, row_weight=a)
        torch.testing.assert_close(slopes.double(), expected[2], rtol=0, atol=TOLERANCE[dtype][1])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pairwise_auc_is_its_definition(regime, dtype, weighted):
    scores, positive, _, negative, w, a = pool()
    scores = scores.to(dtype)
    w, a = (w, a.to(dtype)) if weighted else (None, None)
    for tau in (0.01, 0.3, 10.0):
        expected = by_class(defined_auc, scores, positive, negative, [tau] * 3, w, a)
        got = value_and_gradient(pairwise_auc, scores, positive, negative, tau, pos_weight=w, row_weight=a)
        check(got, expected, tau)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("regime", SMALL, indirect=True)
def test_a_class_alone_is_its_definition(regime, dtype):
    for c in range(3):
        scores, positive, valid, negative = (x[:, c : c + 1] for x in pool()[:4])
        scores = scores.to(dtype)
        for tau in (0.01, 0.3, 10.0):
            expected = by_class(defined_ap, scores, positive, valid, [tau])
            check(value_and_gradient(smooth_ap, scores, positive, valid, tau), expected, tau)
            slopes = smooth_ap_slopes(scores, positive, valid, tau)
            torch.testing.assert_close(slopes.double(), expected[2], rtol=0, atol=TOLERANCE[dtype][1])
            expected = by_class(defined_auc, scores, positive, negative, [tau])
            check(value_and_gradient(pairwise_auc, scores, positive, negative, tau), expected, tau)


@pytest.mark.parametrize("kernel", [smooth_ap, pairwise_auc])
@pytest.mark.parametrize("regime", SMALL, indirect=True)
def test_a_class_alone_keeps_the_laws(regime, kernel):
    scores, positive, valid, negative = (x[:, 1:2] for x in pool()[:4])
    other = valid if kernel is smooth_ap else negative
    loss, gradient = value_and_gradient(kernel, scores, positive, other, 0.1)
    some_loss, some = value_and_gradient(kernel, scores, positive, other, 0.1, gradient_rows=64)
    assert torch.equal(loss, some_loss)
    assert torch.equal(gradient[:64], some[:64])
    assert (some[64:] == 0).all()
    few = slice(None, 40)
    assert torch.autograd.gradcheck(
        lambda s: kernel(s, positive[few], other[few], 0.3), scores[few].clone().requires_grad_()
    )
    harmless = scores.masked_fill(~valid, torch.nan)  # rows that do not count may hold anything
    for got, expected in zip(
        value_and_gradient(kernel, harmless, positive, other, 0.1), (loss, gradient), strict=True
    ):
        assert torch.equal(got, expected)
    for bad in (torch.nan, torch.inf, -torch.inf):
        for row in (positive[:, 0].nonzero()[0], negative[:, 0].nonzero()[0]):
            broken = scores.clone()
            broken[row] = bad
            for result in value_and_gradient(kernel, broken, positive, other, 0.1):
                assert result.isnan().all()


def test_one_temperature_a_class(regime):
    scores, positive, valid, *_ = pool()
    tau = torch.tensor([0.02, 0.5, 3.0], dtype=torch.float64)
    expected = by_class(defined_ap, scores, positive, valid, tau)
    check(value_and_gradient(smooth_ap, scores, positive, valid, tau), expected, tau)


def test_only_the_rows_asked_for_get_a_gradient_and_it_is_the_same(regime):
    scores, positive, valid, *_ = pool()
    loss, gradient = value_and_gradient(smooth_ap, scores, positive, valid, 0.1)
    some_loss, some = value_and_gradient(smooth_ap, scores, positive, valid, 0.1, gradient_rows=64)
    assert torch.equal(loss, some_loss)
    torch.testing.assert_close(some[:64], gradient[:64], rtol=1e-9, atol=1e-15)
    assert (some[64:][~positive[64:]] == 0).all()


def test_a_row_weight_of_one_is_no_weight_and_one_vector_serves_all_classes(regime):
    scores, positive, valid, *_ = pool()
    plain = value_and_gradient(smooth_ap, scores, positive, valid, 0.1)
    vector = value_and_gradient(smooth_ap, scores, positive, valid, 0.1, row_weight=torch.ones(len(scores)))
    for got, expected in zip(vector, plain, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("row", ["positive", "negative"])
def test_a_non_finite_score_makes_its_class_nan_and_no_other(regime, bad, row):
    scores, positive, valid, negative, *_ = pool()
    expected = by_class(defined_ap, scores, positive, valid, [0.1] * 3)
    broken = scores.clone()
    mask = positive if row == "positive" else negative
    broken[mask[:, 1].nonzero()[0], 1] = bad
    broken[~valid[:, 2], 2] = bad  # rows that do not count may hold anything
    for kernel, other in ((smooth_ap, valid), (pairwise_auc, negative)):
        loss, gradient = value_and_gradient(kernel, broken, positive, other, 0.1)
        assert loss.isnan().tolist() == [False, True, False]
        assert gradient[:, 1].isnan().all()
        assert gradient[:, [0, 2]].isfinite().all()
        if kernel is smooth_ap:
            torch.testing.assert_close(loss[[0, 2]], expected[0][[0, 2]], rtol=0, atol=1e-12)
            torch.testing.assert_close(gradient[:, 0], expected[1][:, 0], rtol=0, atol=1e-10)


def test_a_class_without_positives_is_nan_with_zero_gradient(regime):
    scores, positive, valid, negative, w, _ = pool()
    positive = positive.clone()
    positive[:, 1] = False
    weightless = w.masked_fill(positive[:, 2], 0.0)
    for kernel, other in ((smooth_ap, valid), (pairwise_auc, negative & ~positive)):
        loss, gradient = value_and_gradient(kernel, scores, positive, other, 0.1, pos_weight=weightless)
        assert loss.isnan().tolist() == [False, True, True]
        assert (gradient[:, 1:] == 0).all()
        assert gradient[:, 0].isfinite().all()


def test_no_positives_no_negatives_no_rows():
    scores = torch.randn(20, 2)
    nothing, everything = torch.zeros(20, 2, dtype=torch.bool), torch.ones(20, 2, dtype=torch.bool)
    loss, gradient = value_and_gradient(smooth_ap, scores, nothing, everything, 0.1)
    assert loss.isnan().all()
    assert (gradient == 0).all()
    loss, gradient = value_and_gradient(smooth_ap, scores, everything, everything, 0.1)
    assert (loss == 0).all()
    assert (gradient == 0).all()
    loss, gradient = value_and_gradient(pairwise_auc, scores, everything, nothing, 0.1)
    assert loss.isnan().all()
    assert (gradient == 0).all()
    assert smooth_ap(scores[:0], nothing[:0], nothing[:0], 0.1).isnan().all()
    assert (smooth_ap_slopes(scores, nothing, everything, 0.1) == 0).all()


def spread(name, M, P):
    """One class of scores of a shape that has broken kernels like these before."""
    g = generator()
    positive = torch.zeros(M, dtype=torch.bool)
    positive[torch.randperm(M, generator=g)[:P]] = True
    z = torch.randn(M, dtype=torch.float64, generator=g)
    if name == "one positive":
        positive = torch.arange(M) == 5
    if name == "outlier":
        z[(~positive).nonzero()[0]] = 1e6
    if name == "positive outliers":
        z[positive.nonzero()[0]] = -1e6
        z[positive.nonzero()[1]] = 1e6
    scores = {
        "offset of 1e4": z + positive + 1e4,
        "Cauchy": z / torch.randn(M, dtype=torch.float64, generator=g) + positive,
        "times 1000": 1000 * (z + positive),
        "times 1e30": 1e30 * z,
        "heavy ties": (2 * (z + positive)).round() / 2,
        "two values": (z > 0).double(),
        "all equal": torch.full_like(z, 0.3),
        "positives on top": z + 20 * positive,
        "positives at the bottom": z - 20 * positive,
        "positives just on top": 0.1 * z + positive,
    }.get(name, z + positive)
    return scores[:, None], positive[:, None]


SPREADS = (
    "offset of 1e4",
    "outlier",
    "positive outliers",
    "Cauchy",
    "times 1000",
    "times 1e30",
    "heavy ties",
    "two values",
    "all equal",
    "one positive",
    "positives on top",
    "positives at the bottom",
    "positives just on top",
)


def check_spread(name, dtype, tau, M, P):
    scores, positive = spread(name, M, P)
    scores, valid = scores.to(dtype), torch.ones_like(positive)
    expected = by_class(defined_ap, scores, positive, valid, [tau])
    check(value_and_gradient(smooth_ap, scores, positive, valid, tau), expected, tau)
    expected = by_class(defined_auc, scores, positive, ~positive, [tau])
    check(value_and_gradient(pairwise_auc, scores, positive, ~positive, tau), expected, tau)


@pytest.mark.parametrize("tau", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("name", SPREADS)
@pytest.mark.parametrize("regime", ["small", "dense", "compressed grid", "band"], indirect=True)
def test_robust_in_every_regime_that_takes_any_range(regime, name, tau):
    check_spread(name, torch.float32, tau, M=400, P=20)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tau", [1e-3, 1e-2, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("name", SPREADS)
def test_robust_with_the_regime_that_is_chosen(name, tau, dtype):
    for M, P in ((800, 40), (4000, 150)):  # few pairs, and more than those
        check_spread(name, dtype, tau, M, P)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_interpolation_keeps_its_error_bound(dtype):
    for resolution in grid.resolutions(dtype):
        assert resolution.error_bound < TOLERANCE[dtype][0]
        offsets = torch.arange(resolution.points, dtype=torch.float64)
        c = torch.linspace(-0.5, 0.5, 41, dtype=torch.float64)[:, None]
        weights = c.pow(offsets) @ grid.lagrange(resolution.points).t()
        for cell in torch.linspace(-6, 6, 97, dtype=torch.float64):
            nodes = cell + (offsets - resolution.points / 2 + 0.5) / resolution.per_tau
            error = weights @ nodes.sigmoid() - (cell + c[:, 0] / resolution.per_tau).sigmoid()
            assert error.abs().max() <= resolution.error_bound


@pytest.mark.slow
@pytest.mark.parametrize("tau", [1e-3, 10.0])
@pytest.mark.parametrize("name", SPREADS)
def test_robust_in_a_large_pool(name, tau):
    check_spread(name, torch.float32, tau, M=100_000, P=150)


@pytest.mark.parametrize("kernel", [smooth_ap, pairwise_auc])
def test_gradient_is_the_numerical_one(regime, kernel):
    scores, positive, valid, negative, w, a = (x[:40] for x in pool())
    other = valid if kernel is smooth_ap else negative
    tau = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda s: kernel(s, positive, other, tau, pos_weight=w, row_weight=a),
        scores.clone().requires_grad_(),
    )


def plain_loss(kernel, scores, positive, other, tau, *, pos_weight=None, row_weight=None):
    """The same loss by plain operations on all pairs, which torch differentiates any number of times."""
    M, C = scores.shape
    a = torch.ones(M, C, dtype=torch.float64) if row_weight is None else row_weight.double()
    w = a if pos_weight is None else a * pos_weight[:, None]
    losses = []
    for c in range(C):
        s, p, n = scores[:, c].double(), positive[:, c], other[:, c] & ~positive[:, c]
        above = torch.sigmoid((s[None, :] - s[:, None]) / tau[c]) * a[:, c]
        share = w[:, c] * p / (w[:, c] * p).sum()
        value = (above * n).sum(1) / (a[:, c] * n).sum()
        if kernel is smooth_ap:
            rank_pos = 1 + (above * p).sum(1) - above.diagonal()
            value = 1 - rank_pos / (rank_pos + (above * n).sum(1))
        losses.append((share * value).sum())
    return torch.stack(losses)


@pytest.mark.parametrize("kernel", [smooth_ap, pairwise_auc])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [1, 3])
def test_a_hessian_is_that_of_the_definition(kernel, classes, weighted, monkeypatch):
    monkeypatch.setattr("losses.kernels.curvature.TILE_ELEMENTS", 100)
    scores, positive, valid, _, w, a = (x[:30] for x in pool())
    scores, positive, valid, a = (x[:, :classes] for x in (scores, positive, valid, a))
    other = valid if kernel is smooth_ap else valid & ~positive
    weights = {"pos_weight": w, "row_weight": a} if weighted else {}
    tau = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)[:classes]
    factor = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)[:classes]
    for dtype, error in ((torch.float64, 1e-12), (torch.float32, 2e-6)):
        s = scores.to(dtype)
        got, expected = (
            torch.autograd.functional.hessian(lambda s, f=f: (f(s) * factor).sum(), s).double()
            for f in (
                lambda s: kernel(s, positive, other, tau, **weights),
                lambda s: plain_loss(kernel, s, positive, other, tau, **weights),
            )
        )
        assert (got - expected).abs().max() <= error * expected.abs().max()
    assert torch.autograd.gradgradcheck(
        lambda s: kernel(s, positive, other, tau, **weights), scores.clone().requires_grad_()
    )


@pytest.mark.parametrize("kernel", [smooth_ap, pairwise_auc])
def test_a_hessian_of_the_rows_that_need_a_gradient_is_a_block_of_the_whole(kernel):
    scores, positive, valid, *_ = (x[:30] for x in pool())
    other = valid if kernel is smooth_ap else valid & ~positive

    def of_live(live):
        return kernel(torch.cat((live, scores[12:])), positive, other, 0.5, gradient_rows=12).sum()

    block = torch.autograd.functional.hessian(of_live, scores[:12])
    whole = torch.autograd.functional.hessian(lambda s: kernel(s, positive, other, 0.5).sum(), scores)
    torch.testing.assert_close(block, whole[:12, :, :12], rtol=1e-12, atol=1e-15)


def test_a_class_without_a_loss_has_no_curvature_and_a_broken_one_is_nan():
    scores, positive, valid, *_ = (x[:30].clone() for x in pool())
    positive[:, 1], scores[0, 2] = False, torch.inf
    hessian = torch.autograd.functional.hessian(
        lambda s: smooth_ap(s, positive, valid, 0.5).nan_to_num()[:2].sum(), scores
    )
    assert hessian[:, 0, :, 0].isfinite().all()
    assert (hessian[:, 1, :, 1] == 0).all()
    leaf = scores.requires_grad_()
    (gradient,) = torch.autograd.grad(smooth_ap(leaf, positive, valid, 0.5)[2], leaf, create_graph=True)
    (product,) = torch.autograd.grad(gradient[:, 2].sum(), leaf)
    assert product[valid[:, 2], 2].isnan().all()


@pytest.mark.parametrize("kernel", [smooth_ap, pairwise_auc])
def test_no_matrix_of_all_pairs_is_made_for_a_second_derivative(kernel):
    scores, positive = torch.randn(4096, 1, generator=generator()), torch.arange(4096)[:, None] % 16 == 0
    leaf = scores.requires_grad_()
    other = torch.ones_like(positive) if kernel is smooth_ap else ~positive
    (gradient,) = torch.autograd.grad(kernel(leaf, positive, other, 0.1).sum(), leaf, create_graph=True)
    with Watch() as watch:
        torch.autograd.grad(gradient.square().sum(), leaf)
    assert watch.largest <= 2 * dense.TILE_ELEMENTS  # two kinds of mass; all pairs are eight tiles


def penalty(loss_fn):
    scores, positive, valid, *_ = pool()
    leaf = scores.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss_fn(leaf, positive, valid, 0.1).sum(), leaf, create_graph=True)
    return gradient.square().sum(), leaf


def test_a_third_derivative_is_refused_rather_than_wrong():
    value, leaf = penalty(smooth_ap)
    (second,) = torch.autograd.grad(value, leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="at most a second derivative"):
        second.sum().backward()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, from inside the compiler
def test_a_second_derivative_of_a_compiled_kernel_is_refused_rather_than_wrong():
    torch._dynamo.reset()
    value, _ = penalty(torch.compile(smooth_ap, backend="eager", fullgraph=True))
    with pytest.raises(RuntimeError, match=r"call the loss outside torch\.compile"):
        value.backward()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, from its forward mode
def test_transforms_that_the_kernels_cannot_follow_are_refused():
    scores, positive, valid, *_ = pool()

    def loss(s):
        return smooth_ap(s, positive, valid, 0.1).sum()

    def forward_mode():
        with torch.autograd.forward_ad.dual_level():
            loss(torch.autograd.forward_ad.make_dual(scores, scores))

    for transformed in (
        lambda: torch.func.grad(loss)(scores),
        lambda: torch.func.vmap(loss)(scores.expand(2, -1, -1)),
        forward_mode,
    ):
        with pytest.raises(RuntimeError, match="to be differentiated by autograd"):
            transformed()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype):
    scores, positive, valid, *_ = pool()
    half = scores.to(dtype)
    loss, gradient = value_and_gradient(smooth_ap, half, positive, valid, 0.1)
    expected_loss, expected_gradient = value_and_gradient(smooth_ap, half.float(), positive, valid, 0.1)
    assert loss.dtype == torch.float32
    assert gradient.dtype == dtype
    assert torch.equal(loss, expected_loss)
    assert torch.equal(gradient, expected_gradient.to(dtype))


class Watch(TorchDispatchMode):
    """Counts operations and keeps the size of the largest tensor that any of them made."""

    def __init__(self):
        super().__init__()
        self.operations = 0
        self.largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.operations += 1
        for output in result if isinstance(result, tuple | list) else (result,):
            if isinstance(output, torch.Tensor):
                self.largest = max(self.largest, output.numel())
        return result


def watched(kernel, *arguments):
    with Watch() as watch:
        value_and_gradient(kernel, *arguments)
    return watch


@pytest.mark.parametrize("kernel", [smooth_ap, pairwise_auc])
@pytest.mark.parametrize("spread_out", [1, 1000])
def test_no_matrix_of_all_pairs_is_ever_made(kernel, spread_out):
    g = generator()
    positive = torch.rand(2**16, 1, generator=g) < 0.05
    scores = spread_out * torch.randn(2**16, 1, generator=g)
    other = torch.ones_like(positive) if kernel is smooth_ap else ~positive
    assert watched(kernel, scores, positive, other, 0.05).largest <= 8 * 2**16


def test_the_number_of_operations_does_not_grow_with_the_classes():
    def operations(C, M=600):
        labels = torch.randint(0, 10, (M,), generator=generator())
        positive = torch.nn.functional.one_hot(labels, C).bool()
        scores = torch.randn(M, C, generator=generator())
        return watched(smooth_ap, scores, positive, torch.ones_like(positive), 0.05).operations

    assert operations(1000) == operations(100)


@pytest.mark.parametrize("kernel", [smooth_ap, pairwise_auc])
def test_compiles_without_a_graph_break(kernel):
    scores, positive, valid, negative, w, _ = pool()
    other = valid if kernel is smooth_ap else negative

    def step(s):
        return kernel(2 * s, positive, other, 0.1, pos_weight=w).square()

    compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
    for got, expected in zip(
        value_and_gradient(compiled, scores), value_and_gradient(step, scores), strict=True
    ):
        torch.testing.assert_close(got, expected)


def test_the_operators_keep_torch_s_rules_for_operators():
    scores, positive, _, negative, w, a = pool()
    scores = scores.clone().requires_grad_()
    tau = torch.full((3,), 0.1, dtype=torch.float64)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    for watched in (False, True):
        arguments = (scores, positive, negative, tau, w, a, len(scores), "average precision", watched)
        torch.library.opcheck(torch.ops.imbalance_doctor.pair_loss.default, arguments, test_utils=checks)
