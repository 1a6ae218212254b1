"""``segspectral communities``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from segspectral.cli.common import ConfigOption, DebugOption, HeadOption, SeedOption, sentences
from segspectral.cli.dialect import (
    CommentsOption,
    NamesOption,
    SeparatorOption,
    SourceOption,
    TargetOption,
    WeightOption,
)
from segspectral.errors import SettingsError


def communities(
    graph: Annotated[
        Path, typer.Argument(metavar="GRAPH", help="Edges (text), a sparse matrix (.npz), GraphML, GML and others.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the results.")],
    number: Annotated[
        str | None, typer.Option("--communities", "-k", metavar="K|auto", help="At most how many; default 16.")
    ] = None,
    attributes: Annotated[
        Path | None, typer.Option("--attributes", help="Numbers of each node (.csv, .tsv, .npy, .npz).")
    ] = None,
    attribute_weight: Annotated[
        float | None,
        typer.Option("--attribute-weight", help="Of alike attributes beside edges, 0 to 1; default 0.2."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Known classes of the nodes, to say how well they agree.")
    ] = None,
    head: HeadOption = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", help="Of heads with a network: gcn (neighbours count) or mlp.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="A saved head: new nodes join the communities it has found.")
    ] = None,
    save: Annotated[Path | None, typer.Option("--save", metavar="MODEL", help="Save the head for --model.")] = None,
    separator: SeparatorOption = None,
    comments: CommentsOption = None,
    header: NamesOption = None,
    source: SourceOption = None,
    target: TargetOption = None,
    weight: WeightOption = None,
    config: ConfigOption = None,
    seed: SeedOption = None,
    debug: DebugOption = False,
) -> None:
    """Communities of a network: OUT gets communities.csv, summary.json and pictures."""
    with sentences(debug):
        if number is not None and number != "auto" and not (number.isascii() and number.isdigit() and int(number) > 0):
            raise SettingsError(f"-k is a whole number from 1, or auto, not '{number}'")
        fit: dict[str, Any] = {
            "-k": number,
            "--attribute-weight": attribute_weight,
            "--head": head,
            "--encoder": encoder,
            "--seed": seed,
        }
        fit |= {"--config": config, "--save": save}
        if model is not None and (given := [name for name, value in fit.items() if value]):
            raise SettingsError(f"--model has its settings in it: leave out {', '.join(given)}")

        from segspectral.config import load_onto
        from segspectral.networks import Search, extend_communities, find_communities, write_communities
        from segspectral.networks.graphs import Dialect, read_graph
        from segspectral.settings import with_settings

        search = Search() if config is None else load_onto(Search(), config)
        if head is not None:
            search = with_settings(search, {"head": {"name": head}}, "--head")
        if encoder is not None:
            search = with_settings(search, {"head": {"encoder": encoder}}, "--encoder")
        dialect = Dialect(separator, comments, header, source, target, weight)
        network = read_graph(graph, attributes, labels, dialect=dialect)
        print(f"{graph}: {'; '.join([str(network.counts), *network.notes])}")
        if model is not None:
            found = extend_communities(network, model)
            print(f"{found.new.sum()} nodes are new to {model}")
        else:
            found = find_communities(
                network,
                search.communities if number is None else "auto" if number == "auto" else int(number),
                head=search.head,
                weight=search.attribute_weight if attribute_weight is None else attribute_weight,
                seed=search.seed if seed is None else seed,
            )
        if save is not None:
            found.save(save)
        written = write_communities(found, output)
        sizes = ", ".join(map(str, list(found.sizes.values())[:8])) + (" ..." if len(found.sizes) > 8 else "")
        scores = "  ".join(f"{name} {value:.4f}" for name, value in found.scores().items())
        print(f"{len(found.sizes)} communities of {sizes} nodes ({found.head.outcome_.sentence})\n{scores}")
        print(f"-> {', '.join(map(str, [*written, *([save] if save is not None else [])]))}")
