"""Jobs: their resolved settings, and how far their runs are."""

import pytest
from suites import SUITE, finish, write

from fedbridge.core.errors import UserError
from fedbridge.methods.files import load_config
from fedbridge.runs.run import Run

EVEN = {"small": [50, 50]}


def test_jobs_stand_by_scenario_method_and_seed(bench):
    jobs = bench(SUITE.replace("[1, 2, 3]", "[5, 4]")).jobs()
    names = ["bridge--5", "bridge--4", "plain--5", "plain--4"]
    assert [job.name for job in jobs] == [f"first--{name}" for name in names]
    assert jobs[0].folder == bench().results / "runs" / "first--bridge--5"
    assert [job.config.seed for job in jobs] == [5, 4, 5, 4]


def test_a_method_is_laid_over_the_scenario(bench, tmp_path):
    write(
        tmp_path / "preset.toml",
        'extends = "elsewhere.toml"\nname = "other"\nlarge.regularisation = [0.1, 0.5]\n'
        '[learner]\npublic_batch = 9\nname = "smcf"\n[training]\nrounds = 4\nepochs = 5\n',
    )
    scenario = 'config = "base.toml"\nset = ["training.rounds=3", "training.batch=11"]'
    text = SUITE.replace('config = "base.toml"', scenario)
    method = 'config = "preset.toml"\nset = ["training.epochs=6"]'
    config = bench(text.replace('role = "ours"', method)).jobs()[0].config
    assert config.name == "bridge"
    assert config.large.regularisation == (0.1, 0.5)
    assert (config.learner.name, config.learner.memory, config.learner.public_batch) == (
        "smcf",
        7,
        9,
    )
    assert (config.training.batch, config.training.rounds, config.training.epochs) == (11, 4, 6)
    assert (config.engine.workers, config.engine.threads, config.engine.checkpoints) == (0, 1, 1)


def test_another_learner_replaces_the_one_before_whatever_stands_first(bench, tmp_path):
    write(tmp_path / "preset.toml", '[learner]\nclasses = "task"\nname = "finetune"\n')
    text = SUITE.replace('set = ["learner.name=finetune"]', 'config = "preset.toml"')
    plain = bench(text).jobs()[-1].config.learner
    assert plain.model_dump() == {"name": "finetune", "classes": "task"}


def test_a_scenarios_defaults_reach_whoever_has_them_and_does_not_differ(bench):
    scenario = 'config = "base.toml"\ndefaults = ["learner.memory=3", "fusion.epochs=2"]'
    less = '[[method]]\nname = "less"\nset = ["learner.memory=0", "fusion.name=none"]\n'
    text = SUITE.replace('config = "base.toml"', scenario).replace("[1, 2, 3]", "[1]") + less
    ours, plain, less = (job.config for job in bench(text).jobs())
    assert (ours.learner.memory, ours.fusion.epochs) == (3, 2)
    assert not hasattr(plain.learner, "memory") and plain.fusion.epochs == 2
    assert (less.learner.memory, less.fusion.name) == (0, "none")


def test_pictures_cannot_be_made_of_texts(bench):
    rest = 'set = ["data.name=wordnet", "fusion.name=target"]\n'
    text = SUITE + f'[[method]]\nname = "dreams"\n{rest}'
    with pytest.raises(UserError, match=r"method 'dreams': fusion\.name: .* pictures, found 'wo"):
        bench(text).jobs()


def test_a_name_may_be_anything_that_can_be_read(bench):
    odd = 'a "quoted" 5 = é😀'
    job = bench(SUITE.replace('name = "bridge"', f"name = '{odd}'")).jobs()[0]
    assert job.config.name == odd


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("learner.name=finetune", "learner.name=unknown", "'plain': .*learner.name: .*'unknown'"),
        ("learner.name=finetune", "learner.mmeory=1", "'plain': .*mmeory: unknown key.*'memory'"),
        ("learner.name=finetune", "learner", "'plain': --set learner: must have the form a.b=v"),
        ('role = "ours"', 'config = "no.toml"', "'bridge': .*no.toml: cannot read this preset"),
        ('role = "ours"', 'config = "grid.py"', "'bridge': .*grid.py: not valid TOML"),
        ("base.toml", "no.toml", "'bridge': .*no.toml: cannot read this config file"),
    ],
)
def test_what_a_run_would_refuse_is_named_with_its_entry(bench, tmp_path, before, after, message):
    write(tmp_path / "grid.py", "import this\n")
    made = bench(SUITE.replace(before, after))
    with pytest.raises(UserError, match=f"^{made.path}: scenario 'first', method {message}"):
        made.jobs()


def test_the_state_of_a_run(bench):
    made = bench()
    job = made.jobs()[0]
    assert job.state() == "new"
    job.folder.mkdir(parents=True)
    assert job.state() == "new"
    Run.create(job.folder, job.config)
    assert job.state() == "begun"


def test_runs_of_a_bench_are_of_the_local_engine(bench):
    text = SUITE.replace('role = "ours"', 'role = "ours"\nset = ["engine.kind=flower"]')
    assert {job.config.engine.kind for job in bench(text).jobs()} == {"local"}


def test_a_finished_run_is_done_whatever_the_engine_was(bench):
    made = bench()
    job = made.jobs()[0]
    finish(job, EVEN)
    assert job.state() == "done"
    path = job.folder / "config.toml"
    write(path, path.read_text().replace("workers = 0", "workers = 3"))
    assert load_config(path).engine.workers == 3
    assert job.state() == "done"


def test_a_run_of_other_settings_is_no_run_of_the_suite(bench):
    made = bench()
    finish(made.jobs()[0], EVEN)
    other = bench(SUITE.replace('role = "ours"', 'set = ["learner.memory=8"]')).jobs()[0]
    assert other.folder == made.jobs()[0].folder
    assert other.state() == "changed"
    write(other.folder / "config.toml", "[learner]\nno_longer = 1\n")
    assert other.state() == "changed"
