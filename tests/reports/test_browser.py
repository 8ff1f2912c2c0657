"""Pages in a real browser: they load without an error or a request, and their charts can be used by everybody."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.browser import Browser, NoBrowserError, Page, find_browser
from support.compared import make_group
from support.reports import learning, row, write_rows
from support.trained import Runs

from maze_core import compare, report
from maze_core.reports import page as blocks

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.timeout(420),
]  # the first one may install it

FIRST = "document.querySelector('figure.chart')"
WIDE = "[document.scrollingElement.scrollWidth, document.scrollingElement.clientWidth]"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    try:
        program = find_browser()
    except NoBrowserError as error:
        pytest.skip(f"PAGES WERE NOT OPENED IN A BROWSER: {error}")
    opened = Browser(program, tmp_path_factory.mktemp("profile"))
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture(scope="module")
def file(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with all that a page can have."""
    folder = tmp_path_factory.mktemp("page")
    long_text = "a_long_name_" * 12
    rows = learning(
        10, TrainerEvents__lr__mean=0.1, KPIs__usage__mean=0.5, **{f"Cuts__{long_text}__mean_episode_total": 3.0}
    )
    run = write_rows(runs.copy("flat", folder / f"run_{long_text}"), [*rows, row(9, mean=math.nan)])
    (run / "command.txt").write_text(f"maze train run_dir={long_text * 5}\n")
    return report(run, folder / "page.html", local_plugins=False)


@pytest.fixture
def page(browser: Browser, file: Path) -> Iterator[Page]:
    with browser.page(file) as opened:
        opened.evaluate(f"{FIRST}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        yield opened
        assert (opened.errors, opened.requests) == ([], [])


def at(page: Page, share: float) -> tuple[float, float]:
    """A place in the first chart, from the left to the right end of its axis."""
    box = page.evaluate(
        f"(() => {{ const lines = {FIRST}.querySelectorAll('line.axis');"
        " const box = lines[lines.length - 1].getBoundingClientRect(); return [box.x, box.y, box.width]; })()"
    )
    return box[0] + share * box[2], box[1] - 60


def tooltip(page: Page) -> str:
    box = f"{FIRST}.querySelector('.tooltip')"
    return str(page.evaluate(f"{box}.hidden ? '' : {box}.innerText"))


def said(page: Page) -> str:
    return str(page.evaluate(f"{FIRST}.querySelector('.live').textContent"))


def ticks(page: Page) -> list[str]:
    """What stands below the axis."""
    found = page.evaluate(f"[...{FIRST}.querySelectorAll('text.tick[text-anchor=middle]')].map(t => t.textContent)")
    assert isinstance(found, list)
    return found


def test_values_are_read_with_the_mouse(page: Page) -> None:
    page.mouse("mouseMoved", *at(page, 4.1 / 9))
    assert tooltip(page).split("\n") == [
        "env steps of training: 5,000", "evaluation 40 (37 to 45)", "training 39 (36 to 44)"
    ]  # fmt: skip
    page.mouse("mouseMoved", *at(page, 1.0))
    assert "final evaluation 87.5 (84.5 to 92.5)" in tooltip(page)
    page.mouse("mouseMoved", 5, 5)
    assert tooltip(page) == ""


def test_values_are_read_with_keys_and_told(page: Page) -> None:
    page.evaluate(f"{FIRST}.querySelector('.plot > svg').focus()")
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.key(key)
    assert said(page) == "env steps of training: 2,000. evaluation 10 (7 to 15); training 9 (6 to 14)"
    page.key("Escape")
    assert tooltip(page) == ""


def test_a_part_is_zoomed_into_in_all_charts_and_back(page: Page) -> None:
    whole = ticks(page)
    page.drag(at(page, 0.3), at(page, 0.6))
    assert "2k" in whole
    assert "2k" not in ticks(page)
    assert said(page).startswith("Shown: 3,7")
    resets = "[...document.querySelectorAll('button.reset')].map(b => b.hidden)"
    assert set(page.evaluate(resets)) == {False}
    page.evaluate(f"{FIRST}.querySelector('button.reset').click()")
    assert ticks(page) == whole
    assert set(page.evaluate(resets)) == {True}


def test_keys_zoom_too(page: Page) -> None:
    page.evaluate(f"{FIRST}.querySelector('.plot > svg').focus()")
    whole = ticks(page)
    page.key("+", "+")
    assert said(page).startswith("Shown: 3,250 to 7,750")
    assert page.evaluate("document.activeElement.tagName") == "svg"
    page.key("0", "0")
    assert ticks(page) == whole


def test_the_axis_can_be_changed(page: Page) -> None:
    page.evaluate("document.querySelectorAll('fieldset.axis input')[1].click()")
    page.mouse("mouseMoved", *at(page, 1 / 3))
    assert tooltip(page).startswith("epoch: 3\nevaluation 30")
    assert page.evaluate(f"{FIRST}.querySelector('text.label').textContent") == "epoch"


def test_curves_can_be_taken_away(page: Page) -> None:
    button = f"{FIRST}.querySelector('.legend button')"
    page.evaluate(f"{button}.click()")
    page.mouse("mouseMoved", *at(page, 4 / 9))
    assert tooltip(page) == "env steps of training: 5,000\ntraining 39 (36 to 44)"
    assert page.evaluate(f"{button}.getAttribute('aria-pressed')") == "false"


def test_the_data_of_a_chart_is_a_table_for_who_wants_one(page: Page) -> None:
    page.evaluate(f"new Promise(done => {{ const d = {FIRST}.querySelector('details.data');"
                  " d.addEventListener('toggle', () => setTimeout(done)); d.open = true; })")  # fmt: skip
    table = f"{FIRST}.querySelector('details.data table')"
    assert page.evaluate(f"{table}.caption.textContent") == "evaluation"
    assert page.evaluate(f"[...{table}.rows].map(r => r.innerText)[3].split('\\t')") == ["3,000", "20", "17", "25"]


def test_commands_can_be_copied(page: Page) -> None:
    page.evaluate("document.querySelector('#commands button.copy').click()")
    page.evaluate("new Promise(done => setTimeout(done, 50))")
    assert page.evaluate("document.querySelector('#commands button.copy').textContent") == "Copied"


def test_all_pictures_are_shown_and_the_animation_stands_still(page: Page) -> None:
    assert page.evaluate("document.querySelector('details.film').open") is False
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.evaluate("Promise.all([...document.images].map(i => i.decode()))")
    sizes = page.evaluate("[...document.images].map(i => i.naturalWidth)")
    assert len(sizes) == 3
    assert min(sizes) > 100


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_nothing_is_wider_than_the_screen(
    phone: bool, dark: bool, browser: Browser, file: Path, tmp_path: Path
) -> None:
    with browser.page(file, width=375 if phone else 1280, height=812, dark=dark, phone=phone) as opened:
        opened.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        width, screen = opened.evaluate(WIDE)
        assert width <= screen == (375 if phone else 1280)
        ground = opened.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(20, 23, 26)") is dark
        assert opened.screenshot(tmp_path / "page.png", whole=False).stat().st_size > 10_000
        assert (opened.errors, opened.requests) == ([], [])


def test_no_label_of_an_axis_is_cut_or_lies_on_another(page: Page) -> None:
    bad = page.evaluate("""
        [...document.querySelectorAll('.plot > svg')].flatMap(svg => {
          const whole = svg.getBoundingClientRect();
          const texts = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
          const outside = b => b.left < whole.left - 1 || b.right > whole.right + 1 || b.bottom > whole.bottom + 1;
          const overlap = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
          return texts.filter(([, a], i) => outside(a) || texts.some(([, b], j) => j > i && overlap(a, b)));
        })""")
    assert bad == []


def test_without_scripts_the_rest_is_there(browser: Browser, file: Path) -> None:
    with browser.page(file, script=False) as opened:
        opened.send("Emulation.setScriptExecutionDisabled", value=False)  # only the page's own did not run
        text = opened.evaluate("document.body.innerText")
        assert "Without JavaScript this page shows no curves" in text
        assert "Evaluations as a table" in text
        assert "Copy" not in text
        assert opened.errors == []


def test_several_runs_are_opened_by_their_links(browser: Browser, runs: Runs, tmp_path: Path) -> None:
    rows = {"one": learning(3), "two": learning(6, TrainerEvents__lr__mean=0.1)}
    some = [write_rows(runs.copy("flat", tmp_path / name), told) for name, told in rows.items()]
    file = report(some, tmp_path / "page.html", animation=False, local_plugins=False)
    with browser.page(file) as opened:
        opened.evaluate("document.querySelector('a[href=\"#run-2\"]').click()")
        opened.evaluate("new Promise(done => setTimeout(done, 50))")
        assert opened.evaluate("[...document.querySelectorAll('details.run')].map(d => d.open)") == [False, True]
        legends = "[...document.querySelectorAll('figure.chart .legend')].map(l => l.innerText.trim().split(/\\s+/))"
        assert opened.evaluate(legends) == [["one", "two"], ["one", "two"], ["two"]]
        assert (
            opened.evaluate("document.querySelectorAll('figure.chart path.line.k1').length") == 6
        )  # lines and legends
        assert (opened.errors, opened.requests) == ([], [])


def test_where_no_browser_may_be_installed_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(NoBrowserError, match="no Chromium is installed, and nobody here may install one"):
        find_browser()


def living(profile: Path) -> list[str]:
    """Processes that were started for a browser with this profile."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += [process.parent.name] if os.fsencode(profile) in process.read_bytes() else []
    return found


def test_a_browser_that_is_closed_leaves_no_process(browser: Browser, tmp_path: Path) -> None:
    other = Browser(find_browser(), tmp_path)
    assert other.send("Browser.getVersion")["product"]
    assert living(tmp_path)
    other.close()
    end = time.monotonic() + 10
    while living(tmp_path) and time.monotonic() < end:  # those that it had started see that it is gone
        time.sleep(0.02)
    assert living(tmp_path) == []


def test_the_policy_of_a_page_stops_what_is_not_its_own(browser: Browser, tmp_path: Path) -> None:
    """The last line of defence: if markup of somebody else ever got into a page, it could do nothing."""
    evil = "<script>hacked = 1</script><img src='https://example.com/x.png' onerror='hacked = 1'><b style='color:red'>"
    file = tmp_path / "page.html"
    file.write_bytes(blocks.page("A", [blocks.Section("One", blocks.Html(evil))]))
    with browser.page(file) as opened:
        assert opened.evaluate("typeof hacked") == "undefined"
        assert len([error for error in opened.errors if "Content Security Policy" in error]) >= 3


def test_a_comparison_is_a_page_too(browser: Browser, tmp_path: Path) -> None:
    make_group(tmp_path / "runs", "ppo", [20.0, 25.0, 22.0, 21.0, 24.0])
    make_group(tmp_path / "runs", "es", [10.0, 12.0, 11.0, 13.0, 9.0])
    file = compare(tmp_path / "runs", by="algorithm").save_page(tmp_path / "comparison.html")
    with browser.page(file, width=375, height=812, phone=True) as opened:
        scrolled, shown = opened.evaluate(WIDE)
        assert scrolled <= shown
        assert opened.evaluate("document.querySelectorAll('figure.chart .plot svg').length") == 2
        assert (opened.errors, opened.requests) == ([], [])
