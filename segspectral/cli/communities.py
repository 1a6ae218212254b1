"""``segspectral communities``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segspectral.cli.dialect import DialectOptions
from segspectral.cli.options import Only, Output, PipelineOptions, command
from segspectral.errors import SettingsError
from segspectral.registry import ATTRIBUTE_WEIGHT, COMMUNITIES
from segspectral.wording import plural

if TYPE_CHECKING:
    from segspectral.networks import Communities
    from segspectral.networks.find import Search


@command
def communities(
    graph: Annotated[
        Path, typer.Argument(metavar="GRAPH", help="Edges (text), a sparse matrix (.npz), GraphML, GML and others.")
    ],
    output: Output,
    text: DialectOptions,
    options: Annotated[PipelineOptions, Only("head", "preset", "config", "seed")],
    number: Annotated[
        str | None,
        typer.Option(
            "--communities", "-k", metavar="K|auto", help=f"How many communities at most (default: {COMMUNITIES})."
        ),
    ] = None,
    attributes: Annotated[Path | None, typer.Option(help="Numbers of each node (.csv, .tsv, .npy, .npz).")] = None,
    attribute_weight: Annotated[
        float | None,
        typer.Option(help=f"Weight of attributes relative to the edges, 0 to 1 (default: {ATTRIBUTE_WEIGHT})."),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Known classes of the nodes, to compare with.")] = None,
    encoder: Annotated[
        str | None, typer.Option(help="The network of a head that has one: gcn (it sees neighbours) or mlp.")
    ] = None,
    polish: Annotated[
        bool | None,
        typer.Option("--polish", help="Move single nodes at the end as long as that raises the modularity."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="A saved head: new nodes join the communities it has found.")
    ] = None,
    save: Annotated[Path | None, typer.Option(metavar="MODEL", help="Save the head for --model.")] = None,
) -> None:
    """Find the communities of a network: OUT gets communities.csv, summary.json and pictures."""
    if number is not None and number != "auto" and not (number.isascii() and number.isdigit() and int(number) > 0):
        raise SettingsError(f"-k is a whole number from 1, or auto, not '{number}'")
    fitting = {"-k": number, "--attribute-weight": attribute_weight, "--encoder": encoder, "--save": save}
    fitting["--polish"] = polish
    fitting |= {"--head": options.head, "--preset": options.preset, "--config": options.config, "--seed": options.seed}
    if model is not None and (given := [name for name, value in fitting.items() if value]):
        raise SettingsError(f"--model contains its own settings: leave out {', '.join(given)}")

    from segspectral.files import check_folder
    from segspectral.networks import extend_communities, find_communities, write_communities
    from segspectral.networks.graphs import read_graph

    check_folder(output)
    search = _search(options, encoder, number, polish)
    network = read_graph(graph, attributes, labels, dialect=text.dialect())
    print(f"{graph}: {'; '.join([str(network.counts), *network.notes])}")
    if model is not None:
        found = extend_communities(network, model)
        print(f"{plural(int(found.new.sum()), 'node is', 'nodes are')} new to {model}")
    else:
        weight = search.attribute_weight if attribute_weight is None else attribute_weight
        found = find_communities(
            network, search.communities, head=search.head, weight=weight, polish=search.polish, seed=search.seed
        )
    if save is not None:
        found.save(save)
    written = write_communities(found, output)
    _print(found)
    print(f"-> {', '.join(map(str, [*written, *([save] if save is not None else [])]))}")


def _search(options: PipelineOptions, encoder: str | None, number: str | None, polish: bool | None) -> Search:
    """The defaults, ``--preset``, ``--config`` and the named options; later ones override. Raises SettingsError."""
    from segspectral.config import load_onto
    from segspectral.networks import Search
    from segspectral.settings import with_settings

    search = Search()
    for file in options.files():
        search = load_onto(search, file)
    settings: dict[str, dict[str, Any]] = {
        "--head": {} if options.head is None else {"head": {"name": options.head}},
        "--encoder": {} if encoder is None else {"head": {"encoder": encoder}},
        "-k": {} if number is None else {"communities": number if number == "auto" else int(number)},
        "--polish": {} if polish is None else {"polish": polish},
        "--seed": {} if options.seed is None else {"seed": options.seed},
    }
    for option, changes in settings.items():
        if changes:
            search = with_settings(search, changes, option)
    return search


def _print(found: Communities) -> None:
    sizes = ", ".join(map(str, list(found.sizes.values())[:8])) + (" ..." if len(found.sizes) > 8 else "")
    scores = "  ".join(f"{name} {value:.4f}" for name, value in found.scores().items())
    number = len(found.sizes)
    what = f"{number} communities" if number != 1 else "1 community"
    print(f"{what} of {sizes} nodes ({found.head.outcome_.sentence})\n{scores}")
