"""Programs are compiled ahead, once, and by a thread of their own; what was foretold wrong is compiled all the same."""

import threading

import jax
import pytest
from cases import assert_same_bits
from marks import slow_but
from toys import PLAIN, RANDOM, SPEC, Recorder, Stopped, toy_source
from toys import fit_sources as fit

import tlx.training.cache
import tlx.training.kept
import tlx.training.shapes
from tlx.devices.compilations import compilations
from tlx.optim import Adam, AdamW, Constant, Cosine, Group, Phase, Sgd
from tlx.training import ActivationCache, Mixup, StepOptions
from tlx.training.checkpoint import Checkpoints
from tlx.training.programs import Program, forget_programs

TRAIN, VALIDATION = toy_source(14), toy_source(8, seed=1)
BLOCK = (("base/stem", "frozen"), ("base/block", "base"), ("head", "head"))
HEAD = (("base", "frozen"), ("head", "head"))
PROGRAMS = ("jit(step)", "jit(epoch)", "jit(_scores)")


def recipe(rate):
    """A recipe with which no other test shares a program."""
    adam = Group(Constant(rate), Adam())
    return (
        Phase("head", 3, HEAD, {"head": adam}),
        Phase("block", 3, BLOCK, {"head": adam, "base": Group(Cosine(rate, warmup=3), AdamW())}),
        Phase("fresh", 3, BLOCK, {"head": adam, "base": Group(Constant(rate), Sgd())}, fresh=("head/logits",)),
    )


class Heard:
    """What XLA compiled while it listened, by thread."""

    def __init__(self):
        self.programs = []

    def __call__(self, event, duration_secs, **about):
        if event.endswith("backend_compile_duration") and about.get("fun_name") in PROGRAMS:
            self.programs.append((threading.current_thread().name.partition("_")[0], about["fun_name"]))

    @property
    def names(self):
        return sorted(name for _, name in self.programs)

    @property
    def threads(self):
        return {thread for thread, _ in self.programs}


@pytest.fixture
def heard():
    listener = Heard()
    jax.monitoring.register_event_duration_secs_listener(listener)
    yield listener
    jax.monitoring.unregister_event_duration_listener(listener)


def train(phases, case=RANDOM, **options):
    options = {"batch_size": 4, **options}
    log = Recorder()
    done = fit(case.model, case.variables(), phases, TRAIN, VALIDATION, SPEC, callbacks=[log], **options)
    return done, log


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "options", "names"),
    slow_but(
        "0.011",
        of=[
            (0.011, {"cache": ActivationCache("memory")}, ["jit(_scores)"] * 2 + ["jit(epoch)"] + ["jit(step)"] * 2),
            (0.012, {"cache": ActivationCache("off")}, ["jit(_scores)"] + ["jit(step)"] * 3),
            (0.013, {"mix": Mixup(mixup=0.2)}, ["jit(_scores)"] + ["jit(step)"] * 3),
        ],
    ),
)
def test_every_phase_is_compiled_by_another_thread_and_never_again(heard, rate, options, names):
    jax.clear_caches()
    _, log = train(recipe(rate), **options)
    assert heard.threads == {"tlx-compile"}
    assert heard.names == names
    firsts = {record["phase"]: record["epoch"] for record in reversed(log.records)}
    assert all(record["compiled"] == 0 for record in log.records if record["epoch"] != firsts[record["phase"]])


@pytest.mark.slow
def test_equal_fits_share_what_is_compiled(heard):
    phases = recipe(0.014)[:2]
    first, _ = train(phases, seed=1)
    assert "jit(epoch)" in heard.names
    heard.programs.clear()
    second, _ = train(phases, seed=2)
    assert heard.programs == []
    assert first.phases[0].val_loss != second.phases[0].val_loss


def test_what_a_program_depends_on_makes_another():
    labels = {"base": {"w": "frozen"}, "head": {"w": "head"}}
    groups = {"head": Group(Constant(0.1))}
    objective = tlx.Classification()

    def program(model=PLAIN.model, step=None, **changed):
        given = {
            "labels": labels,
            "groups": groups,
            "ranks": {"head/w": 0},
            "steps": 4,
            "objective": objective,
            **changed,
        }
        return Program.of(model, **given, options=StepOptions(**(step or {})))

    assert program() == program(labels={"head": {"w": "head"}, "base": {"w": "frozen"}})
    others = [
        {"labels": {"base": {"w": "head"}, "head": {"w": "head"}}},
        {"groups": {"head": Group(Constant(0.2))}},
        {"ranks": {"head/w": 1}},
        {"steps": 5},
        {"objective": tlx.Classification(0.1)},
        {"step": {"mix": Mixup(mixup=0.1)}},
        {"step": {"stored_norms": True}},
        {"step": {"after": "stem"}},
        {"step": {"accumulate": 2}},
        {"step": {"ema": 0.9}},
        {"step": {"spec": SPEC}},
        {"model": RANDOM.model},
    ]
    assert len({program(), *(program(**changed) for changed in others)}) == 1 + len(others)


@pytest.mark.slow
def test_a_wrong_forecast_costs_a_compilation_and_no_more(heard, monkeypatch):
    """The plan says memory, and then there is no room: the phase begins with raw inputs."""
    phases = recipe(0.015)[:2]
    expected, _ = train(phases, cache=ActivationCache("off"))
    forget_programs()
    heard.programs.clear()

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tlx.training.kept, "MemoryRows", refuse)
    done, _ = train(phases, cache=ActivationCache("memory"))
    assert done.phases[0].activations.startswith("cannot be kept (No space left")
    assert ("MainThread", "jit(step)") in heard.programs
    assert_same_bits(done.variables, expected.variables)


@pytest.mark.slow
def test_a_resumed_fit_is_compiled_ahead_too(heard, tmp_path):
    class StopAfter(Recorder):
        def epoch(self, record):
            if record["epoch"] == 2:
                raise Stopped

    phases = recipe(0.016)[1:2]
    first = Checkpoints(tmp_path, steps=1)
    given = (RANDOM.model, RANDOM.variables(), phases, TRAIN, VALIDATION, SPEC)
    with pytest.raises(Stopped):
        fit(*given, batch_size=4, cache=ActivationCache("off"), callbacks=[StopAfter()], checkpoints=first)
    first.close()
    jax.clear_caches()
    forget_programs()
    heard.programs.clear()
    fit(*given, batch_size=4, cache=ActivationCache("off"), checkpoints=Checkpoints(tmp_path, steps=1))
    assert heard.names == ["jit(_scores)", "jit(step)"]
    assert heard.threads == {"tlx-compile"}


@pytest.mark.slow
def test_what_cannot_be_compiled_ahead_is_compiled_when_it_is_needed(monkeypatch):
    phases = recipe(0.017)[:1]
    expected, _ = train(phases)
    lower = tlx.training.shapes.lower_scores

    class Broken:
        def compile(self):
            raise RuntimeError("RESOURCE_EXHAUSTED")

    monkeypatch.setattr(tlx.training.shapes, "lower_scores", lambda *given: (lower(*given), Broken())[1])
    done, _ = train(phases)
    assert_same_bits(done.variables, expected.variables)


def test_lists_of_weights_and_patterns_are_taken_as_tuples():
    assert hash(tlx.Classification(class_weights=[1.0, 2.0])) == hash(tlx.Classification(class_weights=(1.0, 2.0)))
    assert hash(Group(Constant(0.1), no_decay=["**/bias"])) == hash(Group(Constant(0.1), no_decay=("**/bias",)))


def test_compilations_are_counted_for_the_thread_that_waits():
    def compile_one():
        jax.jit(lambda x: x + 3)(1)

    before = compilations()
    compile_one()
    here = compilations()
    assert here == before + 1
    thread = threading.Thread(target=compile_one)
    thread.start()
    thread.join()
    assert compilations() == here
