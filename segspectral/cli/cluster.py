"""``segspectral cluster``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segspectral.cli.dialect import DialectOptions
from segspectral.cli.options import Only, PipelineOptions, command
from segspectral.heads import DEFAULT_HEAD
from segspectral.wording import plural


@command
def cluster(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Vectors (.npz, .npy), or a graph as for communities.")],
    options: Annotated[PipelineOptions, Only("head", "seed")],
    text: DialectOptions,
    clusters: Annotated[int, typer.Option("--clusters", "-k", min=1, help="How many clusters.")] = 10,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="OUT.npz", help="File for labels, memberships and names.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="HEAD.safetensors", help="The fitted head, for models and export.")
    ] = None,
) -> None:
    """Cluster any vectors or any sparse graph with a head; with known classes, say how well they agree."""
    from segspectral.networks.clustering import cluster_file
    from segspectral.values import Outcome

    head, seed = options.head or DEFAULT_HEAD, options.seed or 0
    found = cluster_file(file, clusters, head=head, seed=seed, output=output, dialect=text.dialect())
    what = "vector" if found.problem.graph is None else "node"
    used = len(set(found.labels.tolist()))
    print(f"{file}: {found.problem}")
    print(f"{plural(len(found.labels), what)} in {plural(used, 'cluster')}, normalized cut {found.head.ncut_:.4f}")
    if found.head.outcome_ is not Outcome.SOLVED:
        print(f"note: {found.head.outcome_.sentence}")
    if found.agreement is not None:
        print("with the classes: accuracy {accuracy:.4f}, NMI {nmi:.4f}, ARI {ari:.4f}".format(**found.agreement))
    if save is not None:
        found.head.save(save)
    for written in (output, save):
        if written is not None:
            print(f"-> {written}")
