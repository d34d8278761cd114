"""Small trees in the formats of the corpora."""

from __future__ import annotations

from pathlib import Path

MELD_HEADER = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,"
    "StartTime,EndTime"
)
MELD_CSVS = {"train": "train", "val": "dev", "test": "test"}
MELD_MEDIA = {
    "train": "train_splits",
    "val": "dev_splits_complete",
    "test": "output_repeated_splits_test",
}


def write_iemocap(root: Path) -> Path:
    """Write one dialogue per session: all classes, happy and excited, and two labels left out."""
    codes = ["fru", "ang", "hap", "exc", "neu", "sad", "xxx"]
    for number in range(1, 6):
        dialogue, session = f"Ses0{number}F_impro01", root / f"Session{number}"
        evaluations, transcripts = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""], []
        wav = session / "sentences/wav" / dialogue
        wav.mkdir(parents=True)
        for turn, code in enumerate(codes):
            name = f"{dialogue}_{'MF'[turn % 2]}00{turn}"
            # Written from last to first: turns are in the order of time, not of lines.
            evaluations[2:2] = [
                f"[{turn + 0.5:.4f} - {turn + 1:.4f}]\t{name}\t{code}\t[2.5000, 2.5000, 2.5000]",
                "C-E2:\tNeutral;\t()",
                "",
            ]
            transcripts.append(f"{name} [00{turn}.5000-00{turn}.9000]: Words of one.")
            (wav / f"{name}.wav").touch()
        for folder, lines in (("EmoEvaluation", evaluations), ("transcriptions", transcripts)):
            path = session / "dialog" / folder / f"{dialogue}.txt"
            path.parent.mkdir(parents=True)
            path.write_text("\n".join(lines) + "\n")
            path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07[Mac OS X")
    return root


def write_authors_splits(folder: Path, **ids: list[str]) -> Path:
    """Write the authors' metadata files, whose paths are of another machine."""
    folder.mkdir(exist_ok=True)
    for split, names in ids.items():
        rows = [f'/home/a/IEMOCAP/Session1/{name}.wav,"Well, yes.",1' for name in names]
        text = "\n".join(["audio_file,raw_text,label", *rows]) + "\n"
        (folder / f"IEMOCAP_metadata_{split}.csv").write_text(text)
    return folder


def meld_row(text: str, speaker: str, emotion: str, dialogue: object, turn: object) -> str:
    """Return one line of MELD's CSV files."""
    return f'1,"{text}",{speaker},{emotion},neutral,{dialogue},{turn},8,21,"00:16:16,059",00:16:21'


def write_meld(root: Path) -> Path:
    """Write MELD's files as its archives unpack: train's CSV beside its videos."""
    rows = {
        "train": [
            meld_row("It\x92s me", "Joey", "neutral", 0, 0),
            meld_row("Oh no, no!", "Monica", "Fear", 0, 1),
        ],
        "val": [meld_row("Hey.", "Joey", "joy", 0, 0)],
        "test": [meld_row("What?", "Ross", "surprise", 3, 2)],
    }
    for split, lines in rows.items():
        folder = root / "train" if split == "train" else root
        (root / MELD_CSVS[split] / MELD_MEDIA[split]).mkdir(parents=True)
        path = folder / f"{MELD_CSVS[split]}_sent_emo.csv"
        path.write_bytes("\r\n".join([MELD_HEADER, *lines]).encode("latin-1"))
    return root
