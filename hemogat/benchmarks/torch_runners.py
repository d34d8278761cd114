"""Targets with encoders that run in torch: a run directory, and the base preset."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from hemogat.benchmarks.base_models import build_base_models
from hemogat.benchmarks.runners import (
    check_tokens,
    noise_windows,
    size_mib,
    text_of,
    token_arrays,
    wav_bytes,
)
from hemogat.benchmarks.targets import (
    COMPONENTS,
    Case,
    HeadShape,
    PresetTarget,
    RunTarget,
    served_graph,
)
from hemogat.benchmarks.torch_calls import Call, fusion_call, maybe_compiled, set_up, waiting
from hemogat.benchmarks.worker_protocol import Opened
from hemogat.contract import MODALITIES
from hemogat.data.audio import cut_windows, decode_audio
from hemogat.data.text import TextTokenizer
from hemogat.model.bank import InductiveHead, freeze_bank
from hemogat.runtime.bundle import Dims
from hemogat.training.head_names import FULL
from hemogat.training.run_directory import RunDirectory, head_path


class PresetRunner:
    """The base preset on arrays, weights random."""

    def __init__(self, target: PresetTarget, threads: int | None, device: str) -> None:
        self._device = set_up(threads, device)
        models = build_base_models(target.bank_rows)
        self._padded_tokens = target.padded_tokens
        self._audio = models.audio_encoder.to(self._device)
        self._text = models.text_encoder.to(self._device)
        self._head = models.head.to(self._device)
        modules = (self._audio, self._text, self._head)
        tensors = [tensor for module in modules for tensor in module.state_dict().values()]
        self.opened = Opened(
            components=("text_encoder", "end_to_end") if target.padded_tokens else COMPONENTS,
            gnn=models.head.head.config.gnn,
            bank_rows=target.bank_rows,
            size_mib=sum(t.numel() * t.element_size() for t in tensors) / 2**20,
            shape=HeadShape(bank_rows=target.bank_rows),
        )

    def prepare(self, case: Case) -> Call:
        """Make the inputs of a case, and return what runs it once."""
        dims = Dims(audio=self._audio.dim, text=self._text.dim)
        if case.component == "fusion":
            return fusion_call(self._head, case.batch, dims, self._device)
        windows = torch.from_numpy(noise_windows(case.batch * case.windows)).to(self._device)
        arrays = token_arrays(case.batch, case.tokens)
        padding = ((0, 0), (0, max(0, (self._padded_tokens or 0) - case.tokens)))
        ids, mask = (torch.from_numpy(np.pad(a, padding)) for a in arrays.values())
        ids, mask = ids.to(self._device), mask.to(self._device)
        present = torch.ones(case.batch, 2, dtype=torch.bool, device=self._device)

        def heard() -> Tensor:
            encoded: Tensor = self._audio(windows)
            return encoded.reshape(case.batch, -1, encoded.shape[1]).mean(dim=1)

        calls: dict[str, Call] = {
            "audio_encoder": heard,
            "text_encoder": lambda: self._text(ids, mask),
            "end_to_end": lambda: self._head(heard(), self._text(ids, mask), present),
        }
        return waiting(calls[case.component], self._device)


class RunRunner:
    """A run directory: its encoders, and its head on the bank of its training split."""

    def __init__(self, target: RunTarget, threads: int | None, device: str) -> None:
        self._device = set_up(threads, device)
        run = RunDirectory.open(target.path)
        recipe = run.record.recipe
        self._recipe = recipe
        train = run.features("train")
        bank = freeze_bank(run.head(), train.embeddings, recipe.graph, labels=train.labels)
        head = InductiveHead(run.head(), bank, recipe.graph).eval()
        self._dims = Dims(
            audio=train.embeddings.audio.shape[1], text=train.embeddings.text.shape[1]
        )
        # A run imported from a checkpoint may have no encoders, one of a single modality has one.
        with_encoders = all((run.path / f"{m}_encoder").is_dir() for m in MODALITIES)
        modules: dict[str, nn.Module] = {"fusion": head}
        files = {head_path(run.path, FULL, run.record.best_seed)}
        if with_encoders:
            modules |= {"audio_encoder": run.audio_encoder(), "text_encoder": run.text_encoder()}
            self._tokenizer = TextTokenizer(run.tokenizer_path, recipe.text)
            files |= {f for name in modules for f in (run.path / name).glob("*.safetensors")}
        self._modules = {
            name: maybe_compiled(
                module.to(self._device),
                self._device,
                compiled=target.compiled,
                cuda_graphs=target.cuda_graphs,
            )
            for name, module in modules.items()
        }
        config = recipe.head
        self.opened = Opened(
            components=COMPONENTS if with_encoders else ("fusion",),
            gnn="none" if config.modules == "no_gnn" else config.gnn,
            bank_rows=len(bank.embeddings),
            size_mib=size_mib(files),
            shape=HeadShape(
                dims=self._dims,
                labels=len(recipe.labels),
                head=run.record.heads[FULL],
                graph=served_graph(recipe.graph),
                bank_rows=len(bank.embeddings),
            ),
        )

    def prepare(self, case: Case) -> Call:
        """Make the inputs of a case, and return what runs it once."""
        fuse = self._modules["fusion"]
        if case.component == "fusion":
            return fusion_call(fuse, case.batch, self._dims, self._device)
        windows = torch.from_numpy(noise_windows(case.windows)).to(self._device)
        tokens = check_tokens(self._tokenizer.encode(text_of(case.tokens)), case.tokens)
        ids = torch.from_numpy(tokens.input_ids).expand(case.batch, -1).to(self._device)
        mask = torch.from_numpy(tokens.attention_mask).expand(case.batch, -1).to(self._device)
        if case.component == "audio_encoder":
            every = windows.repeat(case.batch, 1)
            return self._waiting(lambda: self._heard(every, case.batch))
        if case.component == "text_encoder":
            return self._waiting(lambda: self._modules["text_encoder"](ids, mask))
        wav, text = wav_bytes(case.windows), text_of(case.tokens)
        return self._waiting(lambda: self._end_to_end([wav] * case.batch, [text] * case.batch))

    def _end_to_end(self, audio: list[bytes], texts: list[str]) -> object:
        config = self._recipe.audio
        cut = [cut_windows(decode_audio(a, config), config.window_samples) for a in audio]
        tokens = [self._tokenizer.encode(text) for text in texts]
        device = self._device
        heard = self._heard(torch.cat([torch.from_numpy(w) for w in cut]).to(device), len(cut))
        written = self._modules["text_encoder"](
            torch.stack([torch.from_numpy(t.input_ids) for t in tokens]).to(device),
            torch.stack([torch.from_numpy(t.attention_mask) for t in tokens]).to(device),
        )
        present = torch.ones(len(cut), 2, dtype=torch.bool, device=device)
        return self._modules["fusion"](heard, written, present).probabilities.cpu()

    def _heard(self, windows: Tensor, batch: int) -> Tensor:
        """Return the mean over each utterance's windows; all have equally many."""
        encoded: Tensor = self._modules["audio_encoder"](windows)
        return encoded.reshape(batch, -1, encoded.shape[1]).mean(dim=1)

    def _waiting(self, call: Call) -> Call:
        return waiting(call, self._device)
