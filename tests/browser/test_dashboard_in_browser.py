"""The dashboard as people see it: over real HTTP, in a real browser, while runs go on."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect
from seeing import faint, keep, overflow, unnamed
from visiting import Visit

from fedbridge.core.web import listening
from fedbridge.report.dashboard.app import build_app
from fedbridge.report.dashboard.discovery import name_of
from fedbridge.runs.run import exclusive_lock
from growing_runs import advance, finish, write_run

SLOW = 30_000  # milliseconds; a busy machine must not make a slow page a failure
expect.set_options(timeout=SLOW)


class Served:
    """A dashboard of its own, and where it is."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.socket = listening("dashboard", "127.0.0.1", 0)
        self.home = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        settings = uvicorn.Config(
            build_app([root], ["127.0.0.1"]), log_level="error", lifespan="off", ws="none"
        )
        self.server = uvicorn.Server(settings)
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],), daemon=True)
        self.thread.start()

    def end(self) -> None:
        self.server.force_exit = self.server.should_exit = True
        self.thread.join()
        self.socket.close()

    def run(self, folder: Path) -> str:
        return f"{self.home}/run/{name_of(folder.resolve())}"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    found = Served(tmp_path / "runs")
    yield found
    found.end()


def some_runs(root: Path) -> list[Path]:
    """Write runs of every kind: finished, running a while ago, failed, just begun, broken."""
    folders = [
        write_run(root / f"ours-{seed}", tasks=4, done=4, seed=seed, name="ours", lift=-seed).folder
        for seed in range(3)
    ]
    stopped = write_run(root / "suite/runs/a-rather-long-name--of-a-method--7", tasks=4, done=2)
    with pytest.raises(OSError, match="disk"), stopped.noting_failure():
        raise OSError("the disk is gone")
    folders += [stopped.folder, write_run(root / "begun", tasks=4, done=0).folder]
    broken = write_run(root / "broken", tasks=4, done=3).folder
    (broken / "accuracy.csv").write_text("client,after\n")
    return [*folders, broken]


def judge(page: Page, name: str) -> None:
    keep(page, name)
    assert overflow(page) == [], name
    assert faint(page) == [], name
    assert unnamed(page) == [], name


# -- how it looks


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")]
)
def test_every_page_can_be_read(served: Served, visit: Visit, width: int, scheme: str) -> None:
    folders = some_runs(served.root)
    names = "&".join(f"chosen={name_of(folder.resolve())}" for folder in folders)
    places = {
        "runs": f"{served.home}/?{names}",
        "empty": f"{served.home}/?words=nothing",
        "compare": f"{served.home}/compare?{names}",
        "run": served.run(folders[0]),
        "failed": served.run(folders[3]),
        "broken": served.run(folders[-1]),
    }
    for what, place in places.items():
        page = visit(place, width=width, scheme=scheme)
        expect(page.locator("#live")).not_to_be_empty()
        judge(page, f"dashboard-{what}-{width}-{scheme}")


def test_no_column_is_cut_off_on_a_small_screen(served: Served, visit: Visit) -> None:
    some_runs(served.root)
    page = visit(served.home, width=1100)
    hidden = "table => table.scrollWidth - table.clientWidth"
    assert page.locator(".scroll").first.evaluate(hidden) == 0


def test_states_and_lines_differ_in_more_than_colour(served: Served, visit: Visit) -> None:
    some_runs(served.root)
    page = visit(served.home)
    shapes = page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll('.state')]
            .map(e => [e.textContent, getComputedStyle(e, '::before').clipPath]))"""
    )
    assert set(shapes) == {"finished", "failed", "stopped", "broken"}
    assert len(set(shapes.values())) == 4 and "none" not in shapes.values()


# -- following


def test_a_run_is_followed_without_loading_the_page_again(served: Served, visit: Visit) -> None:
    run = write_run(served.root / "run", tasks=3, done=1)
    with exclusive_lock(run.folder):
        page = visit(served.run(run.folder))
        page.evaluate("window.kept = 'the same page'")
        page.get_by_text("Settings", exact=True).click()  # what is folded out stays so
        expect(page.locator(".state")).to_have_text("running")
        expect(page.locator(".steps")).to_contain_text("1/3")
        advance(run, 2, 3)
        expect(page.locator(".steps")).to_contain_text("2/3")
        expect(page.locator("tr#client-1 td").first).to_have_text("2")
        expect(page.locator("svg").first).to_have_attribute("aria-label", _says("after task 2"))
        run.event("late", client="b", exchange=2, reason="an answer is not taken")
        expect(page.get_by_text("What went wrong")).to_be_visible()
        advance(run, 3, 3)
        finish(run)
        expect(page.locator(".state")).to_have_text("finished")
    assert page.evaluate("window.kept") == "the same page"
    assert page.locator("details#settings").get_attribute("open") is not None
    assert page.locator("svg").count() == 2


def _says(text: str) -> object:
    import re

    return re.compile(re.escape(text))


def test_runs_appear_change_and_vanish_in_the_table(served: Served, visit: Visit) -> None:
    served.root.mkdir()
    page = visit(served.home)
    expect(page.locator("#live")).to_contain_text("none yet")
    run = write_run(served.root / "one", tasks=2, done=1)
    write_run(served.root / "two")
    expect(page.locator("tbody tr")).to_have_count(2)
    row = page.locator(f"#row-{name_of(run.folder.resolve())}")
    expect(row.locator(".state")).to_have_text("stopped")
    with exclusive_lock(run.folder):
        expect(row.locator(".state")).to_have_text("running")
    advance(run, 2, 2)
    finish(run)
    expect(row.locator(".state")).to_have_text("finished")
    (run.folder / "summary.json").write_text("{ torn")
    expect(row.locator(".state")).to_have_text("broken")
    shutil.rmtree(run.folder)
    expect(row).to_have_count(0)
    expect(page.locator("tbody tr")).to_have_count(1)


def test_what_has_gone_is_said(browser: Browser, served: Served) -> None:
    folder = write_run(served.root / "run").folder
    context = browser.new_context()  # not a visit: the console has to say what it cannot get
    page, other = context.new_page(), context.new_page()
    page.goto(served.run(folder))
    other.goto(served.home)
    shutil.rmtree(folder)
    expect(page.locator("#lost")).to_contain_text("not there any more")
    expect(other.locator("#live")).to_contain_text("none yet")
    expect(other.locator("#lost")).to_be_hidden()
    served.end()
    expect(other.locator("#lost")).to_contain_text("does not answer")
    context.close()


# -- finding, sorting, comparing


def test_filter_sort_choose_and_compare_with_the_page_kept(served: Served, visit: Visit) -> None:
    some_runs(served.root)
    page = visit(served.home)
    page.evaluate("window.kept = 'the same page'")
    labels = page.locator("tbody th a")
    page.get_by_label("find").fill("ours")
    expect(labels).to_have_count(3)
    page.get_by_role("link", name="together").click()
    expect(labels).to_have_text(["ours-0", "ours-1", "ours-2"])
    expect(page.locator("th[aria-sort]")).to_have_text("together")
    page.get_by_role("link", name="together").click()
    expect(labels).to_have_text(["ours-2", "ours-1", "ours-0"])
    page.get_by_label("choose ours-1").check()
    page.get_by_label("choose ours-2").check()
    expect(page.locator("#compare")).to_have_text("compare 2 chosen")
    page.get_by_label("find").fill("")
    page.get_by_label("state").select_option("broken")
    expect(labels).to_have_text(["broken"])
    expect(page.locator("#compare")).to_have_text("compare 2 chosen")  # chosen, if not shown
    assert page.evaluate("window.kept") == "the same page"

    page.locator("#compare").click()
    expect(page.get_by_role("heading", name="Comparison")).to_be_visible()
    expect(labels).to_have_text(["ours-1", "ours-2"])
    expect(page.locator("svg")).to_have_attribute("aria-label", _says("Accuracy of together"))
    page.get_by_role("link", name="small").click()
    expect(page.locator("svg")).to_have_attribute("aria-label", _says("Accuracy of small"))
    page.get_by_role("link", name="all runs").click()
    expect(page.get_by_label("choose ours-1")).to_have_count(0)  # the filter is still there
    expect(page.locator("#compare")).to_have_text("compare 2 chosen")


def test_a_choice_stays_with_its_run_while_others_come_before_it(
    served: Served, visit: Visit
) -> None:
    write_run(served.root / "m")
    page = visit(f"{served.home}/?sort=run&rising=1")
    box = page.get_by_label("choose m")
    box.check()
    expect(page.locator("#compare")).to_be_visible()
    box.focus()
    write_run(served.root / "a")
    expect(page.locator("tbody tr")).to_have_count(2)
    assert page.locator("tbody tr").first.locator("input").is_checked() is False
    assert box.is_checked()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "choose m"


def test_it_can_be_used_with_the_keyboard_and_without_scripts(
    served: Served, browser: Browser
) -> None:
    some_runs(served.root)
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(served.home)
    page.get_by_label("find").fill("ours-2")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.locator("tbody th a").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/run/*")
    expect(page.get_by_role("heading", name="ours-2")).to_be_visible()
    context.close()


def test_hundreds_of_runs_stay_usable(served: Served, visit: Visit) -> None:
    first = write_run(served.root / "r0", tasks=1, done=1).folder
    for k in range(1, 250):
        shutil.copytree(first, served.root / f"r{k}")
    page = visit(served.home)
    expect(page.locator("tbody tr")).to_have_count(250)
    page.get_by_label("find").fill("r24")
    expect(page.locator("tbody tr")).to_have_count(11)
