"""The functions of ``torch.nn.functional`` that an expression may call, and related ones; see :mod:`vocabulary`."""

from __future__ import annotations

from fwdscope.functions.vocabulary import Function, tables

_ROWS = """
[activations] torch.nn.functional
    relu(input)                                     # max(x, 0)
    relu6(input)                                    # min(max(x, 0), 6)
    leaky_relu(input, negative_slope=0.01)          # x where positive, else negative_slope · x
    prelu(input, weight)                            # x where positive, else weight · x, a weight for each channel
    elu(input, alpha=1.0)                           # x where positive, else alpha · (exp(x) − 1)
    selu(input)                                     # a scaled elu that keeps mean 0 and variance 1
    celu(input, alpha=1.0)                          # x where positive, else alpha · (exp(x / alpha) − 1)
    gelu(input, *, approximate='none')              # x · Φ(x), Φ the normal distribution function
    silu(input)                                     # x · sigmoid(x), also called swish
    mish(input)                                     # x · tanh(softplus(x))
    softplus(input, beta=1, threshold=20)           # log(1 + exp(beta · x)) / beta
    softsign(input)                                 # x / (1 + |x|)
    hardtanh(input, min_val=-1.0, max_val=1.0)      # x cut off below min_val and above max_val
    hardswish(input)                                # x · relu6(x + 3) / 6
    hardsigmoid(input)                              # relu6(x + 3) / 6
    hardshrink(input, lambd=0.5)                    # x where |x| > lambd, else 0
    softshrink(input, lambd=0.5)                    # x moved towards 0 by lambd, 0 in between
    tanhshrink(input)                               # x − tanh(x)
    logsigmoid(input)                               # log(sigmoid(x)), stable for large x
    threshold(input, threshold, value)              # x where above the threshold, else value
    glu(input, dim=-1)                              # one half of x times the sigmoid of the other
    softmax(input, dim, *, dtype=None)              # exp(x) over its sum along dim: positive, summing to 1
    softmin(input, dim, *, dtype=None)              # softmax of −x
    log_softmax(input, dim, *, dtype=None)          # log(softmax(x)), stable for large x

[activations] torch.nn.functional random
    gumbel_softmax(logits, tau=1, hard=False, *, dim=-1)  # a differentiable sample from a categorical distribution

[activations] torch
    sigmoid(input)                                  # 1 / (1 + exp(−x))

[products] torch.nn.functional
    linear(input, weight, bias=None)                # x · weightᵀ + bias
    bilinear(input1, input2, weight, bias=None)     # x₁ᵀ · weight · x₂ + bias, for each output

[products] torch
    matmul(input, other)                            # the matrix product, batches broadcast; the same as x @ y
    mm(input, mat2)                                 # the product of two matrices
    bmm(input, mat2)                                # matrix products of two batches
    mv(input, vec)                                  # a matrix times a vector
    dot(input, tensor)                              # the dot product of two vectors
    inner(input, other)                             # dot products along the last dimension
    outer(input, vec2)                              # every product of an element here with one there
    kron(input, other)                              # the Kronecker product
    cross(input, other, dim)                        # the cross product of vectors of 3
    einsum(equation, *operands)                     # a sum of products in Einstein's notation: 'bhqd,bhkd->bhqk'
    tensordot(a, b, dims=2)                         # products summed over the given dimensions
    addmm(input, mat1, mat2, *, beta=1, alpha=1)    # beta · input + alpha · mat1 @ mat2
    addmv(input, mat, vec, *, beta=1, alpha=1)      # beta · input + alpha · mat @ vec
    baddbmm(input, batch1, batch2, *, beta=1, alpha=1)  # beta · input + alpha · batch1 @ batch2, in batches

[convolutions] torch.nn.functional
    conv{d}d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1)   # convolution over (N, C, {sizes})
    conv_transpose{d}d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1)
        # transposed convolution over (N, C, {sizes})
    unfold(input, kernel_size, dilation=1, padding=0, stride=1)                 # the patches under a sliding kernel
    fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1)      # patches summed back into an image

[pools] torch.nn.functional
    max_pool{d}d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False)
        # the largest under a sliding kernel over (N, C, {sizes})
    lp_pool{d}d(input, norm_type, kernel_size, stride=None, ceil_mode=False)
        # the p-norm under a sliding kernel over (N, C, {sizes})
    adaptive_max_pool{d}d(input, output_size)       # the largest of as many bins as output_size says
    adaptive_avg_pool{d}d(input, output_size)       # the mean of as many bins as output_size says
    avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True)
        # the mean under a sliding kernel over (N, C, L)
    avg_pool2d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
               divisor_override=None)
        # the mean under a sliding kernel over (N, C, H, W)
    avg_pool3d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True,
               divisor_override=None)
        # the mean under a sliding kernel over (N, C, D, H, W)

[norms] torch.nn.functional
    layer_norm(input, normalized_shape, weight=None, bias=None, eps=1e-05)
        # mean 0, variance 1 over the last dimensions
    group_norm(input, num_groups, weight=None, bias=None, eps=1e-05)    # mean 0, variance 1 over groups of channels
    rms_norm(input, normalized_shape, weight=None, eps=None)  # over the root mean square of the last dimensions
    local_response_norm(input, size, alpha=0.0001, beta=0.75, k=1.0)    # over the squares of neighbouring channels
    normalize(input, p=2.0, dim=1, eps=1e-12)  # over the p-norm along dim: vectors of length 1

[images] torch.nn.functional
    pad(input, pad, mode='constant', value=None)    # borders, from the last dimension: (left, right, top, bottom)
    interpolate(input, size=None, scale_factor=None, mode='nearest', align_corners=None, *, antialias=False)
        # resized to size, or by scale_factor
    pixel_shuffle(input, upscale_factor)            # (N, C·r², H, W) to (N, C, H·r, W·r)
    pixel_unshuffle(input, downscale_factor)        # (N, C, H·r, W·r) to (N, C·r², H, W)
    channel_shuffle(input, groups)                  # channels of all groups interleaved
    affine_grid(theta, size, *, align_corners)      # the sampling grid of affine maps (N, 2, 3)
    grid_sample(input, grid, mode='bilinear', padding_mode='zeros', *, align_corners)   # an image sampled at a grid

[embeddings] torch.nn.functional
    embedding(input, weight, padding_idx=None)      # the rows of weight at the given indices
    embedding_bag(input, weight, offsets=None, *, mode='mean', per_sample_weights=None, padding_idx=None)
        # rows looked up and summed, averaged or maximised by bag
    one_hot(input, num_classes)                     # 1 at the index, else 0; whole numbers

[distances] torch.nn.functional
    cosine_similarity(x1, x2, dim=1, eps=1e-08)     # the cosine of the angle between vectors along dim
    pairwise_distance(x1, x2, p=2.0, eps=1e-06, keepdim=False)  # the p-norm of x1 − x2 over the last dimension
    pdist(input, p=2)                               # the distance of every two rows, each pair once

[distances] torch
    cdist(x1, x2, p=2.0)                            # the distance of every row here to every row there

[losses] torch.nn.functional
    cross_entropy(input, target, weight=None, *, ignore_index=-100, reduction='mean', label_smoothing=0.0)
        # −log softmax(logits) at the target, a class index or probabilities; stable for large logits
    nll_loss(input, target, weight=None, *, ignore_index=-100, reduction='mean')  # −log-probability at the target class
    mse_loss(input, target, *, reduction='mean')                        # (x − y)²
    l1_loss(input, target, *, reduction='mean')                         # |x − y|
    smooth_l1_loss(input, target, *, reduction='mean', beta=1.0)        # a square within beta, a line beyond
    huber_loss(input, target, reduction='mean', delta=1.0)              # beta · smooth_l1_loss, with beta = delta
    binary_cross_entropy(input, target, weight=None, *, reduction='mean')       # for probabilities
    binary_cross_entropy_with_logits(input, target, weight=None, *, reduction='mean', pos_weight=None)
        # sigmoid and binary cross entropy in one, stable for large logits
    kl_div(input, target, *, reduction='mean', log_target=False)  # Kullback–Leibler; input is log-probabilities
    poisson_nll_loss(input, target, log_input=True, full=False, *, eps=1e-08, reduction='mean')     # for counts
    hinge_embedding_loss(input, target, margin=1.0, *, reduction='mean')  # x where y = 1, max(0, margin − x) where −1
    margin_ranking_loss(input1, input2, target, margin=0, *, reduction='mean')  # max(0, −y · (x₁ − x₂) + margin)
    cosine_embedding_loss(input1, input2, target, margin=0, *, reduction='mean')  # near where y = 1, apart where −1
    triplet_margin_loss(anchor, positive, negative, margin=1.0, p=2, eps=1e-06, swap=False, *, reduction='mean')
        # the positive nearer to the anchor than the negative, by margin
    soft_margin_loss(input, target, *, reduction='mean')                # log(1 + exp(−y · x))
    multi_margin_loss(input, target, p=1, margin=1.0, weight=None, *, reduction='mean')     # hinge over classes
    multilabel_margin_loss(input, target, *, reduction='mean')          # hinge over several classes
    multilabel_soft_margin_loss(input, target, weight=None, *, reduction='mean')  # binary cross entropy over classes

[attention] torch.nn.functional
    scaled_dot_product_attention(query, key, value, attn_mask=None, *, is_causal=False, scale=None, enable_gqa=False)
        # softmax(QKᵀ / √d)V; in a boolean attn_mask True may be attended to

[attention] own
    rope(input, theta=10_000, offset=0, interleaved=False)
        # rotary positions on (…, T, head_dim): halves are paired as in Llama, or neighbours

[attention] own makes
    sinusoidal(length, dim, theta=10_000)           # positions (length, dim): sines in even columns, cosines in odd
    causal_mask(length)
        # boolean (T, T), True where a query may attend, itself and before; MultiheadAttention wants ~causal_mask(T)
"""

FUNCTIONAL: tuple[Function, ...] = tuple(tables(_ROWS))
