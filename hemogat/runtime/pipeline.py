"""Audio and text in, emotion out, in one process and without torch."""

from __future__ import annotations

import os
from typing import overload

from hemogat.contract import MODALITIES, Modality, SearchChoice
from hemogat.data.audio import AudioSource
from hemogat.errors import BundleError, InputError
from hemogat.runtime.bundle import Bundle, Engine, GraphName, Precision
from hemogat.runtime.encoding import embed_audio, embed_text
from hemogat.runtime.fusion_inputs import Embedding, fusion_feeds
from hemogat.runtime.gather_session import open_fusion
from hemogat.runtime.parity_report import warn_if_never_compared
from hemogat.runtime.prediction import Neighbour, Prediction
from hemogat.runtime.preprocess import PreparedUtterance, Preprocessor
from hemogat.runtime.sessions import Arrays, EngineSession, open_session
from hemogat.runtime.trial import try_out

_WINDOWS_AT_ONCE = 32
Text = str | bytes


class Pipeline:
    """A bundle, loaded and ready.

    >>> pipeline = Pipeline.load("bundle")
    >>> pipeline("clip.wav", text="I told you already!").label

    Each utterance takes its neighbours from the frozen bank, so its answer never depends on the
    others in the list.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        engine: Engine | None = None,
        precision: Precision | None = None,
        threads: int | None = None,
        device: str | None = None,
        search: SearchChoice | None = None,
    ) -> None:
        self.bundle = bundle
        self.engine, self.precision = bundle.select(engine, precision)
        self.preprocessor = Preprocessor(bundle)

        def session(graph: GraphName) -> EngineSession | None:
            modality = graph.removesuffix("_encoder")
            if modality not in bundle.manifest.modalities:
                return None  # never asked: the preprocessor makes no input for it
            return open_session(
                bundle,
                graph,
                engine=self.engine,
                precision=self.precision,
                threads=threads,
                device=device,
            )

        self._audio_encoder = session("audio_encoder")
        self._text_encoder = session("text_encoder")
        self._fusion = open_fusion(
            bundle,
            engine=self.engine,
            precision=self.precision,
            threads=threads,
            device=device,
            search=search,
        )
        try_out(self)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        engine: Engine | None = None,
        precision: Precision | None = None,
        threads: int | None = None,
        device: str | None = None,
        search: SearchChoice | None = None,
    ) -> Pipeline:
        """Open, verify and load a bundle; an engine that was never compared is warned of.

        ``engine``, ``precision``: None for the first that the bundle lists and that fits.
        ``threads``: how many threads one graph may use; None: as many as there are cores.
        ``device``: where it runs, as for :func:`hemogat.runtime.sessions.open_graph`; None: the
        CPU, for TensorRT the first GPU.
        ``search``: how the bank is searched, as for
        :func:`hemogat.runtime.gather_session.open_fusion`; None: inside the fusion graph.

        Raises:
            BundleError: missing, altered or of an unknown version, or without such an engine.
            IncompleteError: the engine is not installed.
        """
        bundle = Bundle.open(path)
        warn_if_never_compared(bundle, *bundle.select(engine, precision))
        return cls(
            bundle,
            engine=engine,
            precision=precision,
            threads=threads,
            device=device,
            search=search,
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the probabilities."""
        return self.bundle.manifest.labels

    @overload
    def __call__(
        self, audio: AudioSource | None = None, text: Text | None = None
    ) -> Prediction: ...
    @overload
    def __call__(
        self, audio: list[AudioSource | None], text: list[Text | None] | None = None
    ) -> list[Prediction]: ...
    @overload
    def __call__(self, audio: None = None, *, text: list[Text | None]) -> list[Prediction]: ...

    def __call__(
        self,
        audio: AudioSource | list[AudioSource | None] | None = None,
        text: Text | list[Text | None] | None = None,
    ) -> Prediction | list[Prediction]:
        """Classify one utterance, or a list of them: lists in, a list out.

        Audio is a path or a whole file's bytes; either modality may be None where the model was
        trained for that.

        Raises:
            InputError: an utterance cannot be used; the message names it and says why.
        """
        if not isinstance(audio, list) and not isinstance(text, list):
            return self.classify([self.preprocessor.prepare(audio, text, name=_path(audio))])[0]
        audios, texts = _paired(audio, text)
        return self.classify(
            [
                self.preprocessor.prepare(a, t, name=_item(i, a))
                for i, (a, t) in enumerate(zip(audios, texts, strict=True))
            ]
        )

    def classify(self, utterances: list[PreparedUtterance]) -> list[Prediction]:
        """Classify what the preprocessor made ready."""
        if not utterances:
            return []
        audio = self.embed_audio(utterances)
        text = self.embed_text(utterances)
        outputs = self.fuse(list(zip(audio, text, strict=True)))
        modalities = [utterance.modalities for utterance in utterances]
        return [
            self._prediction({name: values[row] for name, values in outputs.items()}, used)
            for row, used in enumerate(modalities)
        ]

    def embed_audio(self, utterances: list[PreparedUtterance]) -> list[Embedding | None]:
        """Encode the windows of all utterances and average each one's: float32 [d_a] or None."""
        if self._audio_encoder is None:
            return [None] * len(utterances)
        clips = [utterance.windows for utterance in utterances]
        return embed_audio(self._audio_encoder.run, clips, at_once=_WINDOWS_AT_ONCE)

    def embed_text(self, utterances: list[PreparedUtterance]) -> list[Embedding | None]:
        """Encode all texts, those of one token bucket together: float32 [d_t] or None."""
        if self._text_encoder is None:
            return [None] * len(utterances)
        return embed_text(self._text_encoder.run, [utterance.tokens for utterance in utterances])

    def fuse(self, embeddings: list[tuple[Embedding | None, Embedding | None]]) -> Arrays:
        """Search the bank and classify: the fusion graph's outputs, one row per utterance."""
        return self._fusion.run(fusion_feeds(embeddings, self.bundle.manifest.dims))

    def _prediction(self, outputs: Arrays, modalities: tuple[Modality, ...]) -> Prediction:
        probabilities = outputs["probabilities"]
        return Prediction(
            label=self.labels[int(probabilities.argmax())],
            probabilities=dict(zip(self.labels, map(float, probabilities), strict=True)),
            modalities=modalities,
            neighbours=self._neighbours(outputs),
        )

    def _neighbours(self, outputs: Arrays) -> tuple[Neighbour, ...]:
        if "neighbours" not in outputs:
            return ()
        index = self.bundle.bank_index
        k_audio = self.bundle.manifest.graph.k_audio
        if outputs["neighbours"].max(initial=-1) >= len(index.ids):
            raise BundleError(
                f"{self.bundle.path}: its graph has more bank rows than "
                f"{self.bundle.manifest.bank.index} names; export the bundle again"
            )
        pairs = zip(outputs["neighbours"], outputs["similarities"], strict=True)
        return tuple(
            Neighbour(
                row=int(row),
                id=index.ids[row],
                label=index.labels[row],
                modality=MODALITIES[slot >= k_audio],
                similarity=float(similarity),
            )
            for slot, (row, similarity) in enumerate(pairs)
            if row >= 0
        )


def _path(audio: AudioSource | None) -> str | None:
    return None if audio is None or isinstance(audio, bytes) else os.fspath(audio)


def _item(number: int, audio: AudioSource | None) -> str:
    """Return what errors call an item of a list."""
    path = _path(audio)
    return f"item {number}" if path is None else f"item {number} ({path})"


def _paired(
    audio: AudioSource | list[AudioSource | None] | None,
    text: Text | list[Text | None] | None,
) -> tuple[list[AudioSource | None], list[Text | None]]:
    """Make both lists, as long as each other; None stands for a list of nothing but None."""
    for name, given in (("audio", audio), ("text", text)):
        if given is not None and not isinstance(given, list):
            raise InputError(
                f"{name}: expected a list, as the other input is one, found {type(given).__name__}"
            )
    audios: list[AudioSource | None] = audio if isinstance(audio, list) else []
    texts: list[Text | None] = text if isinstance(text, list) else [None] * len(audios)
    if audio is None:
        audios = [None] * len(texts)
    if len(audios) != len(texts):
        raise InputError(
            f"expected as many texts as audios, found {len(texts)} texts and {len(audios)} audios"
        )
    return audios, texts
