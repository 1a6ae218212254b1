"""The soft normalized cut of memberships and its gradient, and the descent of logits on it.

``segspectral.heads.neuncut.ncut_loss`` is the same number for networks, whose gradient torch computes.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

__all__ = ["LogitDescent", "soft_ncut"]

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Adam's usual constants (Kingma and Ba 2015, algorithm 1)."""

LONGEST = 1.0
"""Longer gradients are shortened to this norm."""


def soft_ncut(
    P: NDArray[np.float64],
    weights: sp.csr_array,
    degree: NDArray[np.float64],
    hardness: float = 0.0,
    penalty: float = 0.0,
) -> tuple[float, NDArray[np.float64]]:
    """tr(H' L H) + hardness * tr(I - H' D H) + penalty / 2 * ||H' D H - I||_F / K with H = P diag(P' d)^-1/2.

    With a_c = P_c' D P_c / vol_c and k_c = P_c' W P_c / vol_c it is sum_c (a_c - k_c) + hardness * sum_c (1 - a_c) and
    the penalty (He et al. 2024; ``hardness`` is ours, see ``NeuNcut``).

    Parameters
    ----------
    P : (N, K) memberships, rows sum to one
    weights : (N, N) symmetric
    degree : (N,)

    Returns
    -------
    value
    gradient : (N, K) by P. Where H' D H = I, the norm has none, and 0 stands for its gradient
    """
    d = degree[:, None]
    raw = degree @ P
    volume = np.maximum(raw, 1e-12)
    own = (d * P * P).sum(axis=0) / volume
    product = weights @ P
    kept = (P * product).sum(axis=0) / volume
    value = float((own - kept).sum() + hardness * (1 - own).sum())
    # Where a volume is cut off from below, it does not depend on P.
    by_volume = np.where(raw >= 1e-12, kept - (1 - hardness) * own, 0.0)
    gradient = (2 * (1 - hardness) * d * P - 2 * product + d * by_volume) / volume
    if penalty:
        k = P.shape[1]
        root = np.sqrt(volume)
        H = P / root
        excess = H.T @ (d * H) - np.eye(k)
        norm = float(np.linalg.norm(excess))
        value += penalty / 2 * norm / k
        if norm > 0:
            by_H = penalty / (norm * k) * (d * (H @ excess))
            through_volume = np.where(raw >= 1e-12, (by_H * H).sum(axis=0) / (2 * root), 0.0)
            gradient += (by_H - d * through_volume) / root
    return value, gradient


class LogitDescent:
    """Memberships softmax(logits) that Adam moves towards a lower soft normalized cut, at a rate that falls to 0.

    The cut and its gradient are computed in float64; the logits and Adam's moments are float32, as those of networks.

    Parameters
    ----------
    logits : (N, K) to begin with
    weights : (N, N) symmetric; best with a mean degree of 1, because the limits of gradients and volumes have no unit
    steps : how many there will be; the learning rate falls along half a cosine
    """

    def __init__(
        self, logits: NDArray[np.floating], weights: sp.csr_array, *, hardness: float, learning_rate: float, steps: int
    ) -> None:
        self.logits = logits.astype(np.float32)
        self._weights = weights.astype(np.float64)
        self._degree = np.asarray(self._weights.sum(axis=1)).ravel()
        self._hardness, self._learning_rate, self._steps = hardness, learning_rate, steps
        self._gradient, self._mean, self._square = (np.zeros_like(self.logits) for _ in range(3))
        self._step = 0

    def measure(self, penalty: float = 0.0) -> float:
        """The soft normalized cut of the present logits; the next ``move`` goes down its gradient."""
        raw = self.logits.astype(np.float64)
        P = np.exp(raw - raw.max(axis=1, keepdims=True))
        P /= P.sum(axis=1, keepdims=True)
        value, by_P = soft_ncut(P, self._weights, self._degree, self._hardness, penalty)
        gradient = (P * (by_P - (P * by_P).sum(axis=1, keepdims=True))).astype(np.float32)
        length = float(np.linalg.norm(gradient))
        self._gradient = gradient * np.float32(min(1.0, LONGEST / (length + 1e-6)))
        return value

    def move(self) -> float:
        """One step of Adam; the learning rate that it had."""
        rate = self._learning_rate * (1 + math.cos(math.pi * self._step / max(self._steps, 1))) / 2
        self._step += 1
        self._mean += np.float32(1 - BETAS[0]) * (self._gradient - self._mean)
        self._square += np.float32(1 - BETAS[1]) * (self._gradient**2 - self._square)
        first, second = (1 - beta**self._step for beta in BETAS)
        spread = np.sqrt(self._square) / np.float32(math.sqrt(second)) + np.float32(EPSILON)
        self.logits -= np.float32(rate / first) * self._mean / spread
        return rate
