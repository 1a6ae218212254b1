"""``segspectral cluster``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segspectral.cli.common import progress
from segspectral.cli.dialect import DialectOptions
from segspectral.cli.options import Only, PipelineOptions, command
from segspectral.errors import SettingsError
from segspectral.heads import DEFAULT_HEAD
from segspectral.registry import SPACE_SOURCES, SPACES
from segspectral.wording import plural

if TYPE_CHECKING:
    from segspectral.networks.clustering import Clustering


@command
def cluster(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Vectors (.npz, .npy), or a graph as for communities.")],
    options: Annotated[PipelineOptions, Only("head", "seed")],
    text: DialectOptions,
    clusters: Annotated[
        int | None, typer.Option("--clusters", "-k", min=1, help="How many clusters (default: 10).")
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(SPACES),
            help="How vectors are transformed before they are compared: codes, outputs of a Siamese network, of both, "
            f"or scattering coefficients of square images (default: {SPACES[0]}).",
        ),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(SPACE_SOURCES),
            help="Input of the networks of --space code, siamese and both: raw vectors, their scattering, or the "
            f"scattering only if they look like square images (default: {SPACE_SOURCES[0]}).",
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Fit on N vectors, drawn at random, and predict the others."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(metavar="HEAD.safetensors", help="Predict with a head that --save wrote; fit nothing."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="OUT.npz", help="File for labels, memberships and names.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="HEAD.safetensors", help="The fitted head, for models and export.")
    ] = None,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="tcp://HOST:8786 of a scheduler, or local:4 for four workers.")
    ] = None,
) -> None:
    """Cluster any vectors or any sparse graph with a head; with known classes, show how well they agree."""
    from segspectral.networks.clustering import cluster_file

    given: dict[str, object] = {"-k": clusters, "--head": options.head, "--space": space, "--of": of}
    given |= {"--seed": options.seed, "--sample": sample, "--save": save}
    if model is not None and (named := [name for name, value in given.items() if value is not None]):
        raise SettingsError(f"{named[0]} is for a fit, but --model gives a head that has been fitted; leave one out")
    spread = None
    if dask is not None:
        from segspectral.batch import DaskMap

        spread = DaskMap(dask)
    head, seed = options.head or DEFAULT_HEAD, options.seed or 0
    with progress(1) as report:
        found = cluster_file(
            file,
            clusters or 10,
            head=head,
            space=space,
            of=of,
            model=model,
            sample=sample,
            seed=seed,
            output=output,
            save=save,
            dialect=text.dialect(),
            spread=spread,
            progress=lambda what, done, count: report.share(f"{what} {done:,} of {count:,} vectors", done / count),
        )
    count, what = len(found.labels), "vector" if found.problem.graph is None else "node"
    print(f"{file}: {found.problem}")
    if found.fitted == 0:
        print(f"{plural(count, what)} in {plural(len(set(found.labels.tolist())), 'cluster')}, predicted by {model}")
    else:
        _say_how_fitted(found, what)
    if found.agreement is not None:
        print("with the classes: accuracy {accuracy:.4f}, NMI {nmi:.4f}, ARI {ari:.4f}".format(**found.agreement))
    for written in (output, save):
        if written is not None:
            print(f"-> {written}")


def _say_how_fitted(found: Clustering, what: str) -> None:
    from segspectral.heads.spaces import Scattering
    from segspectral.values import Outcome

    count, used = len(found.labels), len(set(found.labels.tolist()))
    sampled = found.fitted < count
    cut = "normalized cut of the sample" if sampled else "normalized cut"
    print(f"{plural(count, what)} in {plural(used, 'cluster')}, {cut} {found.head.ncut_:.4f}")
    if sampled:
        print(
            f"note: the head was fitted on {found.fitted} vectors, drawn at random, and predicted the others; --sample "
            f"{count} fits it on all"
        )
    if isinstance(space := found.head.space_, Scattering) and space.network is not None:
        print(
            "note: the vectors are square images, and the networks of the space see their scattering; --of raw "
            "makes them see the pixels"
        )
    if (recall := found.head.affinity_.recall) < 1:
        print(f"note: the search for nearest neighbours was approximate; it found {recall:.1%} of them")
    if found.head.outcome_ is not Outcome.SOLVED:
        print(f"note: {found.head.outcome_.sentence}")
