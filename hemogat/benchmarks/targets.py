"""What can be measured side by side, and what one call of it works on.

Nothing here imports torch: the process that measures a bundle must not, either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, TypeAdapter

from hemogat.config import GraphConfig, HeadConfig, PositiveInt, Settings
from hemogat.contract import Engine, Precision, SearchMode
from hemogat.errors import ConfigError, InputError
from hemogat.runtime.bundle import MANIFEST_FILE, Bundle, BundleManifest, Dims, GraphName

# end_to_end: audio file and text in, answer out; encoders: both, one after the other.
Component = Literal["audio_encoder", "text_encoder", "fusion", "end_to_end", "encoders"]
# What every target with encoders offers.
COMPONENTS: tuple[Component, ...] = ("audio_encoder", "text_encoder", "fusion", "end_to_end")
# What the reference workload runs: products of matrices in fp32 and int8, and a copy.
Kernel = Literal["gemm", "gemm_int8", "copy"]
_RUN_FILE = "run.json"  # named here too: the training arm's own constant comes with torch
_COMPILED = "compile"
_CUDA_GRAPHS = "cuda-graphs"


class Case(Settings):
    """What one call works on: ``batch`` utterances of ``windows`` seconds and ``tokens`` tokens."""

    component: Component | Kernel = "end_to_end"
    batch: PositiveInt = 1
    windows: PositiveInt = 1
    tokens: PositiveInt = 16

    @property
    def axes(self) -> dict[str, str | int]:
        """What the case's times depend on."""
        axes: dict[str, str | int] = {"component": self.component}
        if self.component in get_args(Component):
            axes["batch"] = self.batch
        if self.component in ("audio_encoder", "encoders", "end_to_end"):
            axes["windows"] = self.windows
        if self.component in ("text_encoder", "encoders", "end_to_end"):
            axes["tokens"] = self.tokens
        return axes


class HeadShape(Settings):
    """All that the speed of a head with its bank depends on; messages carry no labels."""

    dims: Dims = Dims(audio=768, text=768)
    labels: PositiveInt = 4
    head: HeadConfig = HeadConfig()
    graph: GraphConfig = GraphConfig()
    bank_rows: PositiveInt = 4407


def shape_of_bundle(manifest: BundleManifest) -> HeadShape:
    """Return the sizes of a bundle's head and bank."""
    return HeadShape(
        dims=manifest.dims,
        labels=len(manifest.labels),
        head=manifest.head,
        graph=served_graph(manifest.graph),
        bank_rows=manifest.bank.rows,
    )


def served_graph(graph: GraphConfig) -> GraphConfig:
    """Return the graph that an authors' run is served with: messages without labels, incoming."""
    return graph.model_copy(update={"labels": False, "direction": "incoming"})


class BundleTarget(Settings):
    """One engine and precision of a bundle."""

    kind: Literal["bundle"] = "bundle"
    path: Path
    engine: Engine
    precision: Precision


class RunTarget(Settings):
    """A run directory in torch: eager, through torch.compile, or that with CUDA graphs."""

    kind: Literal["run"] = "run"
    path: Path
    compiled: bool = False
    cuda_graphs: bool = False


class ServedTarget(Settings):
    """A server that runs already."""

    kind: Literal["served"] = "served"
    url: str


class GraphsTarget(Settings):
    """Exported graphs' files in an engine, each run alone; ``shape`` is the fusion graph's."""

    kind: Literal["graphs"] = "graphs"
    paths: dict[GraphName, Path]
    engine: Engine
    precision: Precision
    shape: HeadShape


class GatherTarget(Settings):
    """The fusion step with its bank outside the graph: the file ``bank``, searched by ``mode``."""

    kind: Literal["gather"] = "gather"
    path: Path
    bank: Path
    mode: SearchMode
    engine: Engine
    precision: Precision
    shape: HeadShape


class HeadTarget(Settings):
    """A head with random weights in torch."""

    kind: Literal["head"] = "head"
    shape: HeadShape
    compiled: bool = False


class PresetTarget(Settings):
    """The base preset with random weights in torch; texts are padded to ``padded_tokens``."""

    kind: Literal["preset"] = "preset"
    bank_rows: PositiveInt = 4407
    padded_tokens: PositiveInt | None = None


class PeerTarget(Settings):
    """Other software, run by a worker of its own that speaks the same protocol.

    ``command``: what starts it; ``folder``: the models that it loads; ``name``: what executes them.
    """

    kind: Literal["peer"] = "peer"
    name: str
    command: tuple[str, ...]
    folder: Path


class ReferenceTarget(Settings):
    """The reference workload; ``int8``: with the product in int8, where that can run."""

    kind: Literal["reference"] = "reference"
    int8: bool = False


Target = Annotated[
    BundleTarget
    | RunTarget
    | ServedTarget
    | GraphsTarget
    | GatherTarget
    | HeadTarget
    | PresetTarget
    | PeerTarget
    | ReferenceTarget,
    Field(discriminator="kind"),
]
TARGET: TypeAdapter[Target] = TypeAdapter(Target)


def is_named(target: Target) -> bool:
    """Say whether the user named the target, so that a component that it lacks is worth a note."""
    return isinstance(target, BundleTarget | RunTarget | ServedTarget)


def engine_name(target: Target) -> str:
    """Return what executes a target, as reports name it: "onnx-int8", "torch-eager"."""
    if isinstance(target, PeerTarget):
        return target.name
    if isinstance(target, ReferenceTarget):
        return target.kind
    if isinstance(target, BundleTarget | GraphsTarget | GatherTarget):
        return f"{target.engine}-{target.precision}"
    if isinstance(target, ServedTarget):
        return "triton-http" if target.url.startswith("http") else "triton-grpc"
    if isinstance(target, RunTarget) and target.cuda_graphs:
        return "torch-cuda-graphs"
    compiled = not isinstance(target, PresetTarget) and target.compiled
    return "torch-compile" if compiled else "torch-eager"


def parse_target(text: str) -> Target:
    """Read a target as the command line gives it.

    A bundle folder, ``BUNDLE:onnx-int8``, a run directory (torch eager), ``RUN:compile``,
    ``RUN:cuda-graphs``, or a server's ``grpc://host:port`` or ``http://host:port``. A bundle's
    hashes are checked.

    Raises:
        InputError: it is none of these.
        BundleError: the bundle is damaged, or has no such engine and precision.
    """
    if "://" in text:
        return ServedTarget(url=text)
    path, variant = Path(text), ""
    if not path.exists() and ":" in text:
        before, _, variant = text.rpartition(":")
        path = Path(before)
    if (path / MANIFEST_FILE).is_file():
        engine, precision = Bundle.open(path).select(*_engine_and_precision(text, variant))
        return BundleTarget(path=path.absolute(), engine=engine, precision=precision)
    if (path / _RUN_FILE).is_file():
        if variant not in ("", _COMPILED, _CUDA_GRAPHS):
            raise InputError(
                f"{text}: expected RUN, RUN:{_COMPILED} or RUN:{_CUDA_GRAPHS}, found {variant!r}"
            )
        return RunTarget(
            path=path.absolute(), compiled=bool(variant), cuda_graphs=variant == _CUDA_GRAPHS
        )
    raise InputError(
        f"{text}: expected a bundle (also BUNDLE:onnx-int8), a run directory (also "
        f"RUN:{_COMPILED}) or grpc://host:port, found neither {MANIFEST_FILE} nor {_RUN_FILE} there"
    )


def named(targets: Sequence[Target]) -> dict[str, Target]:
    """Name targets by what executes them, and by where they lie if that is not enough.

    Raises:
        ConfigError: one is given twice.
    """
    engines = [engine_name(target) for target in targets]
    often = Counter(engines)
    names = [
        engine if often[engine] == 1 else f"{place_of(target)} {engine}"
        for engine, target in zip(engines, targets, strict=True)
    ]
    found = dict(zip(names, targets, strict=True))
    if len(found) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise ConfigError(f"expected different targets, found {twice} more than once")
    return found


def _engine_and_precision(text: str, variant: str) -> tuple[Engine | None, Precision | None]:
    if not variant:
        return None, None
    for engine in get_args(Engine):
        for precision in get_args(Precision):
            if variant == f"{engine}-{precision}":
                return engine, precision
    raise InputError(f"{text}: expected an engine and precision as in onnx-int8, found {variant!r}")


def place_of(target: Target) -> str:
    """Return a short name of where a target lies; no whole path, as reports get published."""
    if isinstance(target, BundleTarget | RunTarget):
        generic = target.path.name in ("bundle", "run")
        return (generic and target.path.parent.name) or target.path.name  # /bundle has no parent
    if isinstance(target, HeadTarget | GraphsTarget | GatherTarget):
        return target.shape.head.gnn
    if isinstance(target, PeerTarget):
        return target.folder.name
    return target.url if isinstance(target, ServedTarget) else target.kind
