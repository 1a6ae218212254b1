"""``segspectral cluster``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segspectral.cli.common import DebugOption, HeadOption, SeedOption, check_head, sentences
from segspectral.cli.dialect import (
    CommentsOption,
    NamesOption,
    SeparatorOption,
    SourceOption,
    TargetOption,
    WeightOption,
)
from segspectral.heads import DEFAULT_HEAD


def cluster(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Vectors (.npz, .npy) or a graph, as for communities.")],
    clusters: Annotated[int, typer.Option("--clusters", "-k", min=1, help="How many.")] = 10,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="OUT.npz", help="Labels, memberships, names.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="HEAD.safetensors", help="The fitted head, for models and export.")
    ] = None,
    head: HeadOption = None,
    separator: SeparatorOption = None,
    comments: CommentsOption = None,
    header: NamesOption = None,
    source: SourceOption = None,
    target: TargetOption = None,
    weight: WeightOption = None,
    seed: SeedOption = None,
    debug: DebugOption = False,
) -> None:
    """Cluster any vectors or any sparse graph with a head; with known classes, say how well they agree."""
    with sentences(debug):
        check_head(head)
        from segspectral.networks.clustering import cluster_file
        from segspectral.networks.edgelists import Dialect
        from segspectral.values import Outcome

        dialect = Dialect(separator, comments, header, source, target, weight)
        found = cluster_file(file, clusters, head=head or DEFAULT_HEAD, seed=seed or 0, output=output, dialect=dialect)
        what = "vectors" if found.problem.graph is None else "nodes"
        used = len(set(found.labels.tolist()))
        print(f"{file}: {found.problem}")
        print(f"{len(found.labels)} {what} in {used} clusters, normalized cut {found.head.ncut_:.4f}")
        if found.head.outcome_ is not Outcome.SOLVED:
            print(f"note: {found.head.outcome_.sentence}")
        if found.agreement is not None:
            a = found.agreement
            print(f"with the classes: accuracy {a.accuracy:.4f}, NMI {a.nmi:.4f}, ARI {a.ari:.4f}")
        if save is not None:
            found.head.save(save)
        for written in (output, save):
            if written is not None:
                print(f"-> {written}")
