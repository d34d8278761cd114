"""From what a client sends to what the encoders take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemogat.contract import MODALITIES, Modality
from hemogat.data.audio import AudioSource, cut_windows, decode_audio
from hemogat.data.text import TextTokenizer, TokenizedText, clean_text
from hemogat.errors import InputError
from hemogat.runtime.bundle import Bundle


@dataclass(frozen=True)
class PreparedUtterance:
    """One utterance, ready for the encoders; None where a modality is absent.

    Shapes:
        windows: float32 [W, window_samples]
        tokens: int64 [T], T one of the token buckets
    """

    windows: NDArray[np.float32] | None
    tokens: TokenizedText | None

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that are there."""
        there = (self.windows is not None, self.tokens is not None)
        return tuple(name for name, is_there in zip(MODALITIES, there, strict=True) if is_there)


class Preprocessor:
    """Decode, resample, cut and tokenise as the bundle says."""

    def __init__(self, bundle: Bundle) -> None:
        self._manifest = bundle.manifest
        self._tokenizer: TextTokenizer | None = None
        if "text" in bundle.manifest.modalities:
            self._tokenizer = TextTokenizer(bundle.tokenizer_path, bundle.manifest.text)

    @property
    def reads_audio(self) -> bool:
        """Whether the model takes audio."""
        return "audio" in self._manifest.modalities

    @property
    def last_token(self) -> int:
        """The largest token id; 0 where no text is read."""
        return 0 if self._tokenizer is None else self._tokenizer.last_token

    def prepare(
        self, audio: AudioSource | None, text: str | bytes | None, *, name: str | None = None
    ) -> PreparedUtterance:
        """Make one utterance ready; ``name`` stands for it in errors.

        A modality that the model does not read is left out unread. Blank text counts as absent.

        Raises:
            InputError: nothing usable was handed in, it cannot be decoded, or the model needs a
                modality that is absent.
        """
        tokens = self.read_text(audio, text, name=name)
        heard = audio is not None and self.reads_audio
        windows = self.decode(audio, name=name) if audio is not None and heard else None
        return PreparedUtterance(windows, tokens)

    def read_text(
        self, audio: AudioSource | None, text: str | bytes | None, *, name: str | None = None
    ) -> TokenizedText | None:
        """Do all of :meth:`prepare` but decode the audio, which takes longest; return the tokens.

        Raises:
            InputError: as for :meth:`prepare`, but for audio that cannot be decoded.
        """
        uses = self._manifest.modalities
        tokens = None
        if text is not None and "text" in uses:
            tokens = self.tokenise(text, name=f"text of {name}" if name else "text")
        given = [m for m, value in zip(MODALITIES, (audio, text), strict=True) if value is not None]
        if given and not set(given) & set(uses):
            raise InputError(
                f"{name or 'request'}: has {given[0]} alone, and this model reads {uses[0]} alone; "
                f"send {uses[0]}"
            )
        heard = audio is not None and self.reads_audio
        self._check_present(heard, tokens is not None, name or "request")
        return tokens

    def decode(self, audio: AudioSource, *, name: str | None = None) -> NDArray[np.float32]:
        """Decode an audio file and cut it: float32 [W, window_samples].

        Raises:
            InputError: it cannot be decoded.
        """
        config = self._manifest.audio
        return cut_windows(decode_audio(audio, config, name=name), config.window_samples)

    def tokenise(self, text: str | bytes, *, name: str = "text") -> TokenizedText | None:
        """Tokenise a text; None when it is blank.

        Raises:
            InputError: it is no text or too long, or the model reads none.
        """
        if self._tokenizer is None:
            raise InputError(f"{name}: expected audio, as this model reads no text")
        cleaned = clean_text(text, self._manifest.text, name=name)
        return self._tokenizer.encode(cleaned) if cleaned else None

    def _check_present(self, audio: bool, text: bool, name: str) -> None:
        uses = self._manifest.modalities
        there = {"audio": audio, "text": text}
        missing = [modality for modality in uses if not there[modality]]
        if len(missing) == len(uses):
            raise InputError(f"{name}: expected {' or '.join(uses)}, found none or empty")
        if missing and not self._manifest.accepts_missing_modality:
            raise InputError(
                f"{name}: has no {missing[0]}, and this model was trained without modality "
                f"dropout, so it needs both; send both or train with head.modality_dropout"
            )
