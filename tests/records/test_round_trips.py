"""What a run writes is what is read of it."""

import json

import pytest
from toys import finetune_toy

import tlx
from tlx.analysis import read_run
from tlx.records import Description, Result


@pytest.mark.parametrize(("name", "kind"), [("run.json", Description), ("result.json", Result)])
def test_the_record_read_writes_the_same_file(finished, name, kind):
    plain = json.loads((finished / name).read_text())
    assert json.loads(json.dumps(kind.read(finished / name).to_dict())) == plain


@pytest.mark.slow
def test_a_run_that_interprets_nothing_has_a_report(tmp_path):
    run = finetune_toy(tmp_path / "run", interpret=False, compare_scratch=False)
    evaluation = read_run(run.path).evaluation
    assert len(evaluation.labels) == run.result["test_examples"]
    assert len(evaluation.map_rows) == len(evaluation.map_points) == 0
    assert tlx.write_report(run.path).is_file()
