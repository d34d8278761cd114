from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from hemogat.benchmarks import suites
from hemogat.benchmarks.environment import describe_environment
from hemogat.benchmarks.report import BenchReport, read_report
from hemogat.benchmarks.suites import STEP_FILE, Step, Suite, SuiteFailedError, run_suite
from hemogat.cli import bench
from hemogat.cli.bench_suite import check_settings
from hemogat.cli.main import app
from hemogat.config import load_settings
from hemogat.errors import ConfigError

SUITES = Path(__file__).parents[2] / "benchmarks" / "suites"
FEW = {"utterances": 2, "triton": False, "threads": 1}


def suite_of(bundle: Path, *more: Step) -> Suite:
    step = Step(name="one", command="latency", targets=(str(bundle),), settings=FEW)
    return Suite(name="small", title="A small suite", steps=(step, *more))


def test_settings_become_options() -> None:
    step = Step(
        name="a",
        command="serve",
        targets=("bundle",),
        settings={"concurrency": (1, 4), "bank_rows": 7, "triton": False, "rate": ("80%",)},
    )
    assert step.arguments({}) == [
        "serve", "--concurrency=1", "--concurrency=4", "--bank-rows=7", "--no-triton",
        "--rate=80%", "bundle",
    ]  # fmt: skip


@pytest.mark.parametrize("path", sorted(SUITES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_suites_of_the_checkout_fit_their_commands(path: Path) -> None:
    suite = load_settings(Suite, path)
    assert suite.name == path.stem
    check_settings(suite, path, get_command(bench.app))


@pytest.mark.parametrize("name", ["no_such_option", "out", "json"])
def test_settings_that_no_option_takes_are_refused_before_anything_runs(
    name: str, tmp_path: Path
) -> None:
    steps = [
        {"name": "a", "command": "cost"},
        {"name": "b", "command": "cost", "settings": {name: 1}},
    ]
    file = tmp_path / "suite.yaml"
    file.write_text(yaml.safe_dump({"name": "s", "title": "S", "steps": steps}))
    result = CliRunner().invoke(app, ["bench", "suite", str(file), "--out", str(tmp_path / "o")])
    assert result.exit_code == 1
    assert f"steps.b.settings: hemogat bench cost has no option for '{name}'" in result.stderr
    assert not (tmp_path / "o").exists()


def test_there_are_the_suites_that_make_runs() -> None:
    makefile = (SUITES.parents[1] / "Makefile").read_text()
    (line,) = (line for line in makefile.splitlines() if line.startswith("SUITES :="))
    names = line.partition(":=")[2].split()
    # All but those that need a GPU or a bundle that must be built first.
    assert set(names) == {path.stem for path in SUITES.glob("*.yaml")} - {
        "gpu-base",
        "serving-base",
    }


def test_the_server_is_measured_long_enough() -> None:
    demo = load_settings(Suite, SUITES / "serving-load.yaml").steps[0]
    base = load_settings(Suite, SUITES / "serving-base.yaml").steps
    assert demo.settings["streams"] == 20
    assert demo.settings["stream_seconds"] == 30
    assert [(s.settings["engine"], s.settings["precision"]) for s in base] == [
        ("onnx", "fp32"), ("openvino", "int8"),
    ]  # fmt: skip
    for step in (demo, *base):
        assert step.settings["overload_seconds"] == 60
        assert step.settings["concurrency"] == (1, 4, 16)


def test_a_suite_runs_and_goes_on(tiny_bundle: Path, tmp_path: Path) -> None:
    missing = Step(name="two", command="latency", targets=(str(tmp_path / "none"),))
    with pytest.raises(SuiteFailedError, match="step two: expected one report, found exit code 1"):
        run_suite(suite_of(tiny_bundle, missing), tmp_path / "out")
    assert not (tmp_path / "out" / "two").exists()
    assert not list((tmp_path / "out").glob("*.html"))
    said: list[str] = []
    page = run_suite(suite_of(tiny_bundle), tmp_path / "out", said.append)
    assert said == ["step 1 of 1, one: done before"]
    assert "<h1>A small suite</h1>" in page.read_text()
    (report,) = (p for p in (tmp_path / "out" / "one").glob("*.json") if p.name != STEP_FILE)
    assert read_report(report).kind == "latency"


def test_names_of_steps_differ() -> None:
    step = Step(name="a", command="cost")
    with pytest.raises(ValueError, match="names of steps repeat: a, a"):
        Suite(name="s", title="S", steps=(step, step))


def test_a_step_may_read_the_report_of_an_earlier_one() -> None:
    first = Step(name="engines", command="latency")
    second = Step(name="b", command="cost", settings={"measure": "{engines}"})
    Suite(name="s", title="S", steps=(first, second))
    reports = {"engines": Path("out/engines/x.json")}
    assert second.arguments(reports) == ["cost", "--measure=out/engines/x.json"]
    with pytest.raises(ValueError, match="step b: engines is no earlier step"):
        Suite(name="s", title="S", steps=(second, first))


def test_a_step_runs_again_when_what_it_read_was_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def measure(command: Sequence[str], timeout_s: float) -> int:
        """Write a report in the command's place, another one each time."""
        ran.append(command[command.index("bench") + 1])
        out = Path(command[-1].removeprefix("--out="))
        report = BenchReport(
            kind=ran[-1],
            title=f"measurement {len(ran)}",
            created_utc="2026-11-01T12:00:00+00:00",
            environment=describe_environment(),
            load_average_before=(0.1, 0.2, 0.3),
            load_average_after=(0.1, 0.2, 0.3),
            settings={},
        )
        (out / "report.json").write_text(report.to_json())
        return 0

    monkeypatch.setattr(suites, "_exit_code", measure)
    steps = (
        Step(name="engines", command="latency"),
        Step(name="cost", command="cost", settings={"measure": "{engines}"}),
    )
    suite = Suite(name="s", title="S", steps=steps)
    run_suite(suite, tmp_path)
    assert ran == ["latency", "cost"]
    run_suite(suite, tmp_path)
    assert ran == ["latency", "cost"]
    shutil.rmtree(tmp_path / "engines")
    run_suite(suite, tmp_path)
    assert ran == ["latency", "cost"] * 2  # the settings of cost are the same


def test_a_step_that_takes_too_long_stops_what_it_started(tmp_path: Path) -> None:
    program = tmp_path / "step.py"
    program.write_text(
        "import pathlib, sys, tempfile, time\n"
        "place = pathlib.Path(sys.argv[1])\n"
        "try:\n"
        "    (place / 'scratch').write_text(tempfile.mkdtemp())\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    (place / 'stopped').touch()\n"
    )
    with pytest.raises(subprocess.TimeoutExpired):
        suites._exit_code([sys.executable, str(program), str(tmp_path)], 10)
    assert (tmp_path / "stopped").exists()  # it was asked before it was forced
    assert not Path((tmp_path / "scratch").read_text()).exists()


def test_other_commands_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text("name: s\ntitle: S\nsteps: [{name: a, command: rm}]\n")
    with pytest.raises(ConfigError, match=r"steps\.0\.command"):
        load_settings(Suite, path)
