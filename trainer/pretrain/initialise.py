"""Initial weights that spare a small encoder the unigram plateau.

Plain random weights predict unigram frequencies for millions of tokens before attention starts to help. Here the
token embeddings come from a factorised co-occurrence matrix (positive PMI, truncated SVD: Levy and Goldberg, 2014),
the output bias from log unigram frequencies, positions are sinusoidal in dimensions of their own, and the heads of
the first two layers start out attending to near neighbours through those dimensions. Where there are translations,
the lines that a piece occurs in count as further neighbours of it (Levy, Sogaard and Goldberg, 2017), so that pieces of
one meaning start out alike in all languages.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse
import scipy.sparse.linalg
import torch
from torch import nn

from madx.backbone import Attention, Backbone

Ids = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float32]

_WINDOW = 4
_NEIGHBOURS = (-1, 1, -2, 2, -3, 3, 0, -4)
_NEIGHBOUR_LAYERS = 2
_SHARPNESS = 1.6
_EMBEDDING_STD = 0.05
_POSITION_SHARE = 0.25  # of an embedding's squared norm


def initialise(backbone: Backbone, chunks: Ids, *, seed: int, lines: scipy.sparse.csr_matrix | None = None) -> None:
    """Set all weights of `backbone` in place from training chunks (N, S) of piece ids. Needs a masked-LM head.

    `lines` says how often each piece occurs in each line of translations, (V, lines).
    """
    config = backbone.config
    generator = torch.Generator().manual_seed(seed)
    for module in backbone.modules():
        if isinstance(module, nn.Linear):
            module.weight.data.normal_(std=1 / math.sqrt(2 * module.in_features), generator=generator)
            module.bias.data.zero_()
    head_size = config.hidden_size // config.num_heads
    content = config.hidden_size - head_size
    counts = np.bincount(chunks.ravel(), minlength=config.vocab_size).astype(np.float64)
    word = np.zeros((config.vocab_size, config.hidden_size), dtype=np.float32)
    word[:, :content] = cooccurrence_embeddings(chunks, config.vocab_size, content, seed=seed, lines=lines)
    backbone.embeddings.word.weight.data.copy_(torch.from_numpy(word))
    frequencies = _frequencies(head_size // 2)
    norm = _EMBEDDING_STD * math.sqrt(content)
    positions = sinusoids(config.max_positions, frequencies)  # (positions, head_size), rows of norm sqrt(head_size / 2)
    scale = norm * math.sqrt(_POSITION_SHARE / (1 - _POSITION_SHARE)) / math.sqrt(head_size / 2)
    backbone.embeddings.position.weight.data.zero_()
    backbone.embeddings.position.weight.data[:, content:] = torch.from_numpy(positions) * scale
    backbone.embeddings.token_type.weight.data.zero_()
    assert backbone.masked_lm is not None
    backbone.masked_lm.bias.data.copy_(torch.from_numpy(log_unigram(counts)))
    backbone.masked_lm.dense.weight.data.add_(torch.eye(config.hidden_size))
    for layer in list(backbone.layers)[:_NEIGHBOUR_LAYERS]:
        attention = layer.attention
        assert isinstance(attention, Attention)
        attend_to_neighbours(attention, content, frequencies)


def log_unigram(counts: npt.NDArray[np.float64]) -> Floats:
    """Smoothed log frequencies, (V,)."""
    smoothed = counts + 0.5
    logarithms: Floats = np.log(smoothed / smoothed.sum()).astype(np.float32)
    return logarithms


def cooccurrence_embeddings(
    chunks: Ids, vocab_size: int, dimensions: int, *, seed: int, lines: scipy.sparse.csr_matrix | None = None
) -> Floats:
    """Rows of U sqrt(S) of the PPMI matrix of pieces within four of each other, and of pieces and lines beside it.

    (V, dimensions), scaled to one norm.
    """
    matrix = ppmi(_neighbours(chunks, vocab_size))
    beside = None if lines is None else ppmi(lines)
    if beside is not None and beside.nnz:  # a single line sets no pieces apart
        # As much of the whole as the neighbours have.
        matrix = scipy.sparse.hstack((matrix, beside * (_norm(matrix) / _norm(beside))), format="csr")
    start = np.random.default_rng(seed).standard_normal(vocab_size).astype(np.float32)
    left_vectors, values, _ = scipy.sparse.linalg.svds(matrix, k=dimensions, v0=start)
    vectors = left_vectors * np.sqrt(np.maximum(values, 0.0))
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unseen = norms.ravel() < 1e-6
    vectors[unseen] = np.random.default_rng(seed + 1).standard_normal((int(unseen.sum()), dimensions))
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Floats = (vectors / norms * _EMBEDDING_STD * math.sqrt(dimensions)).astype(np.float32)
    return scaled


def _neighbours(chunks: Ids, vocab_size: int) -> scipy.sparse.csr_matrix:
    """How often two pieces stand within four of each other, the nearer the more: (V, V), symmetric."""
    counts = scipy.sparse.csr_matrix((vocab_size, vocab_size), dtype=np.float64)
    for distance in range(1, _WINDOW + 1):
        left, right = chunks[:, :-distance].ravel(), chunks[:, distance:].ravel()
        ones = np.full(len(left), 1.0 / distance)
        counts = counts + scipy.sparse.csr_matrix((ones, (left, right)), shape=counts.shape)
    return counts + counts.T


def ppmi(counts: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix:
    """Positive pointwise mutual information of rows and columns.

    Column frequencies to the power 0.75 keep rare ones from dominating (Levy, Goldberg and Dagan, 2015).
    """
    rows = np.asarray(counts.sum(axis=1)).ravel()
    columns = np.asarray(counts.sum(axis=0)).ravel() ** 0.75
    columns /= columns.sum()
    entries = counts.tocoo()
    pmi = np.log(entries.data / (rows[entries.row] * columns[entries.col]))
    positive = pmi > 0
    return scipy.sparse.csr_matrix(
        (pmi[positive], (entries.row[positive], entries.col[positive])), shape=counts.shape, dtype=np.float32
    )


def _norm(matrix: scipy.sparse.csr_matrix) -> float:
    return float(scipy.sparse.linalg.norm(matrix))


def _frequencies(count: int) -> npt.NDArray[np.float64]:
    """Radians a position, geometric from about a quarter turn to a slow drift over a whole row."""
    return np.geomspace(1.5, 0.01, count)


def sinusoids(positions: int, frequencies: npt.NDArray[np.float64]) -> Floats:
    """(positions, 2 * frequencies): cosines first, then sines, of each position's angles."""
    angles = np.arange(positions)[:, None] * frequencies[None, :]
    return np.concatenate((np.cos(angles), np.sin(angles)), axis=1).astype(np.float32)


def attend_to_neighbours(attention: Attention, content: int, frequencies: npt.NDArray[np.float64]) -> None:
    """Make each head's query the position `offset` places on, so that q . k is largest at that neighbour."""
    width = attention.qkv.in_features
    head_size = width // attention.num_heads
    half = head_size // 2
    for head, offset in enumerate(_cycle(_NEIGHBOURS, attention.num_heads)):
        turn = torch.from_numpy(frequencies * offset).float()
        rotate = torch.zeros(head_size, width)
        rotate[:half, content : content + half] = torch.diag(turn.cos())
        rotate[:half, content + half :] = torch.diag(-turn.sin())
        rotate[half:, content : content + half] = torch.diag(turn.sin())
        rotate[half:, content + half :] = torch.diag(turn.cos())
        keep = torch.zeros(head_size, width)
        keep[:, content:] = torch.eye(head_size)
        rows = slice(head * head_size, (head + 1) * head_size)
        attention.qkv.weight.data[rows] = _SHARPNESS * rotate
        attention.qkv.weight.data[width + rows.start : width + rows.stop] = _SHARPNESS * keep


def _cycle(offsets: Sequence[int], count: int) -> list[int]:
    return [offsets[index % len(offsets)] for index in range(count)]
