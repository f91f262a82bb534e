import json
import os
import subprocess

import pytest
from typer.testing import CliRunner

from captum_heta.cli import app


def run(*arguments):
    return CliRunner().invoke(app, ["benchmark", *arguments])


QUICK = ("--methods", "normxlogit,random", "--metrics", "dsa,f1", "--limit", "2")


def test_tables_are_printed_and_written(tmp_path):
    out = tmp_path / "out"
    result = run("--out", str(out), *QUICK)
    assert result.exit_code == 0, result.output
    for told in ("embedded", "NormXLogit", "random", "DSA", "F1", "report.md"):
        assert told in result.output
    assert {path.name for path in out.iterdir()} >= {"report.md", "report.csv", "dsa.png", "f1.png", "results.jsonl"}
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    again = run("--out", str(out), *QUICK)
    assert again.exit_code == 0
    assert [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()] == lines


def test_no_number_is_cut_in_a_narrow_terminal(tmp_path):
    metrics = "dsa,f1,mass,top1,sufficiency,comprehensiveness,soft_ns,soft_nc,pi_soft_ns"
    result = run("--out", str(tmp_path), *QUICK[:2], "--metrics", metrics, "--limit", "1", "--draws", "1")
    assert result.exit_code == 0, result.output
    (row,) = [line for line in result.output.splitlines() if line.startswith("NormXLogit")]
    assert len(row.split()) == 11
    assert "\N{HORIZONTAL ELLIPSIS}" not in row


def test_a_data_set_of_a_file(tmp_path):
    record = {"lambadaIndex": 7, "text": "Anna lives in Rome and Ben lives in Oslo", "rationale": [[0, 4], [14, 18]]}
    file = tmp_path / "annotated.jsonl"
    file.write_text(json.dumps(record) + "\n")
    result = run("--out", str(tmp_path / "out"), "--data", f"lambada={file},embedded", *QUICK)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [line["data"] for line in lines] == ["lambada"] * 2 + ["embedded"] * 4
    assert lines[0]["metrics"]["dsa"] is None  # it has no distractors
    assert lines[0]["metrics"]["f1"] is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--preset", "table9"), "There is no preset 'table9'; there are table1"),
        (("--methods", "hetta"), "There is no method 'hetta'"),
        (("--metrics", "dsb"), "There is no metric 'dsb'"),
        (("--data", "longra"), "--data longra needs its file or its id on the hub: longra=PATH"),
        (("--data", "longer=x.json"), "--data: there is no data set 'longer'; there are curated, longra"),
        (("--data", "longra=no/such/file.jsonl"), "no/such/file.jsonl"),
        (("--data", ","), "--data names nothing, got ','"),
        (("--preset", "multihop"), "--preset multihop reads hotpotqa=hotpotqa/hotpot_qa,musique=dgslibisey/MuSiQue of"),
        (("--paragraphs", "3"), "--paragraphs 3 is of hotpotqa and musique: leave it out"),
        (("--options", "{"), "--options is no JSON"),
        (("--options", "[1]"), "--options must be an object with an object for each method, got [1]"),
        (("--bos",), "--bos: the tokenizer puts '<s>' before prompts itself"),
        (("--device-map", "auto"), "--device-map places the model of --model"),
    ],
)
def test_errors_are_one_message_and_no_traceback(tmp_path, arguments, message):
    result = run("--out", str(tmp_path), *QUICK, *arguments)
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_results_of_other_settings_are_not_mixed(tmp_path):
    assert run("--out", str(tmp_path), *QUICK).exit_code == 0
    result = run("--out", str(tmp_path), *QUICK, "--seed", "1")
    assert result.exit_code == 1
    assert "has results of other settings: seed is 0 there and 1 here" in " ".join(result.output.split())


def test_a_preset_can_be_changed(tmp_path):
    result = run("--out", str(tmp_path), "--preset", "table2", "--methods", "random", "--limit", "1")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "settings.json").read_text())["metrics"] == ["dsa", "f1", "top1"]


@pytest.mark.parametrize(
    ("preset", "data"),
    [("ruler", "single_needle needles multivalue variables hops".split()), ("injection", ["injection"])],
)
def test_presets_with_data_of_their_own(tmp_path, preset, data):
    arguments = ("--out", str(tmp_path), "--preset", preset, "--forced", "--methods", "normxlogit,random")
    result = run(*arguments, "--limit", "1")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["data"] for line in lines] == [name for name in data for _ in range(2)]
    for line in lines:
        assert "error" not in line
        without = {name for name, value in line["metrics"].items() if value is None}
        # where the right answer is forced, the prompt need not make it likelier: no curve
        assert without - {"deletion"} == ({"ap_parts", "recall_parts"} if line["data"] == "single_needle" else set())


def test_more_examples_of_a_preset_go_on_with_what_is_not_there(tmp_path):
    arguments = ("--out", str(tmp_path), "--preset", "injection", "--forced", "--methods", "normxlogit,random")
    assert run(*arguments, "--limit", "1").exit_code == 0
    before = (tmp_path / "lines-0.jsonl").read_bytes()
    assert run(*arguments, "--limit", "2").exit_code == 0
    after = (tmp_path / "lines-0.jsonl").read_bytes()
    assert after.startswith(before)
    assert after.count(b"\n") == 2 * before.count(b"\n")


def test_the_preset_of_several_hops_reads_files(tmp_path):
    record = {
        "_id": "5a8b",
        "question": "Where is the kettle made that Ada likes?",
        "answer": "Rome",
        "supporting_facts": [["Ada", 0], ["Kettle", 1]],
        "context": [
            ["Tea", ["Tea is hot."]],
            ["Ada", ["Ada likes a kettle."]],
            ["Kettle", ["It is red.", " It is made in Rome."]],
            *([f"Cup {number}", ["A cup is small."]] for number in range(5)),
        ],
    }
    file = tmp_path / "hotpot.json"
    file.write_text(json.dumps([record]))
    arguments = ("--preset", "multihop", "--data", f"hotpotqa={file}", "--methods", "normxlogit", "--limit", "1")
    tokens = {}
    for name, more in {"few": (), "all": ("--paragraphs", "10")}.items():
        result = run("--out", str(tmp_path / name), *arguments, *more)
        assert result.exit_code == 0, result.output
        (line,) = [json.loads(line) for line in (tmp_path / name / "results.jsonl").read_text().splitlines()]
        assert set(line["metrics"]) == {"ap_passage", "recall5_passage", "ap_parts", "recall_parts", "deletion"}
        assert 0 < line["metrics"]["ap_parts"] <= 1
        tokens[name] = line["tokens"]
    assert tokens["few"] < tokens["all"]


def test_two_processes_share_the_work(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    arguments = ("--methods", "normxlogit,gxa,random", "--metrics", "soft_nc,dsa", "--limit", "3", "--draws", "2")
    assert run("--out", str(one), *arguments).exit_code == 0
    subprocess.run(
        ["torchrun", "--nproc-per-node=2", "-m", "captum_heta.cli", "benchmark", "--out", str(two), *arguments],
        check=True,
        capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )

    def lines(folder):
        found = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
        return [{name: value for name, value in line.items() if name not in ("seconds", "scores")} for line in found]

    assert (two / "lines-0.jsonl").read_text().count("\n") == 6
    assert (two / "lines-1.jsonl").read_text().count("\n") == 3
    for mine, theirs in zip(lines(one), lines(two), strict=True):
        assert mine.pop("metrics") == pytest.approx(theirs.pop("metrics"), rel=1e-4)  # other numbers of threads
        assert mine == theirs
