"""Deep k-means: an autoencoder whose codes are trained for k-means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segspectral.heads.gcn import Encoder
from segspectral.heads.network_head import BatchSize, Effort, NetworkHead
from segspectral.heads.networks import Mlp, common_scale
from segspectral.heads.readout import Readout, fit_centres
from segspectral.heads.training.pretraining import Autoencoder, reconstruction
from segspectral.spectral.kmeans import kmeans
from segspectral.values import Affinity

if TYPE_CHECKING:
    import torch

    from segspectral.heads.training.run import Progress, Run

__all__ = ["DeepKMeans"]


class DeepKMeans(NetworkHead):
    """Deep k-means (Fard, Thonet and Gaussier 2020, eq. 2 with the softmax of eq. 3).

    It minimises

        mean_i |x_i - g(f(x_i))|^2 / V_x + weight * mean_i sum_c s_ic |f(x_i) - m_c|^2 / V_f,
        s_ic = softmax_c(-sharpness * |f(x_i) - m_c|^2 / V_f)

    over the encoder f, the decoder g and the centres m, after the autoencoder has been trained by itself and k-means
    has placed the centres. V_x is the total variance of the features, V_f that of the codes before the joint training.
    It does not look at the graph, and like k-means it cannot tell two circles apart.

    Parameters
    ----------
    hidden : widths of the encoder; the decoder mirrors them
    pretraining : epochs of the autoencoder alone
    weight : of the clustering loss
    sharpness : of the softmax in the clustering loss

    Published values
    ----------------
    hidden (500, 500, 2000), also the default above 1200 nodes; 50 epochs of pretraining and 100 of joint training in
    batches of 256 at 0.001; weight 1, tuned for each data set; sharpness 1000.

    Differs from the paper
    ----------------------
    1. Both terms are in units of a variance, so that one ``weight`` fits data and codes of any scale. Without it the
       published weight of 1 outweighs the reconstruction of MNIST five times, and three of ten clusters die.
    2. The code has K dimensions, as published, but at least 2.
    3. It has memberships: softmax(-|f(x) - m_c|^2 / T), with T set as in ``NeuNcut``. The centres are those of a last
       k-means on the codes, started from scratch.
    """

    EFFORT = Effort((500, 500, 2000), 300, 1e-3)
    SMALL_EFFORT = Effort((64,), 60, 5e-3)
    FEATURES: ClassVar[int] = 1

    encoder: ClassVar[Encoder] = "mlp"  # type: ignore[misc]  # it does not look at the graph
    batch_size: BatchSize = 256
    pretraining: Annotated[int, Field(ge=1, le=10_000)] = 30
    weight: Annotated[float, Field(ge=0)] = 1.0
    sharpness: Annotated[float, Field(gt=0)] = 1000.0

    def _learn(
        self, X: NDArray[np.float64], affinity: Affinity, seed: int, progress: Progress | None
    ) -> tuple[Mlp, Run]:
        import torch

        from segspectral.heads.training.loop import RowBatches, train

        effort = self._effort(X)
        pretrained = Autoencoder(
            hidden=effort.hidden,
            code=max(self.n_clusters, 2),
            epochs=self.pretraining,
            batch_size=self.batch_size,
            learning_rate=effort.learning_rate,
        )
        encoder, decoder = pretrained.both(X, seed=seed, device=self.device)
        shift, scale = common_scale(X)
        inputs = torch.from_numpy((X - shift) / scale).float().to(self.device)
        # The encoder is of X itself; torch sees standardised inputs.
        first = encoder.after(-shift / scale, 1 / scale)
        f, g = first.module(self.device), decoder.module(self.device)
        codes = encoder(X)
        variance = max(float(codes.var(axis=0).sum()), 1e-12)
        start = kmeans(codes, self.n_clusters, n_init=5, seed=seed).centres
        centres = torch.from_numpy(start).float().to(self.device).requires_grad_(True)

        def loss(rows: torch.Tensor, done: float) -> torch.Tensor:
            code = f(inputs[rows])
            distance = ((code[:, None] - centres[None]) ** 2).sum(dim=2) / variance
            share = torch.softmax(-self.sharpness * distance, dim=1)
            return reconstruction(inputs[rows], g(code)) + self.weight * (share * distance).sum(dim=1).mean()

        batches = RowBatches(len(X), self.batch_size, seed=seed, device=self.device)
        run = train(
            [*f.parameters(), *g.parameters(), centres],
            loss,
            batches.draw,
            steps=effort.steps,
            learning_rate=effort.learning_rate,
            patience=self.patience,
            time_limit=self.time_limit,
            progress=progress,
        )
        return first.trained(f).after(shift, scale), run

    def _read(self, raw: NDArray[np.float64], affinity: Affinity) -> Readout:
        return fit_centres(raw, affinity, self.n_clusters, seed=self.random_state)

    def transform(self, X: Any, *, affinity: Any = None) -> NDArray[np.float64]:
        """(N', code) codes."""
        unseen = self._unseen(X, affinity)
        return self.extension_.outputs(*unseen)
