"""The page of a run: what is on it, nothing fetched, nothing of a user's taken for markup, and as a browser sees it."""

import re
import shutil
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from compressor.errors import EnvironmentProblem
from compressor.saved_run.run_folder import Run, open_run
from profiles.analysis.answer_flips import Flip, FlipCount, Flips
from profiles.analysis.effects import Contrast
from profiles.analysis.pareto import build_pareto
from profiles.reports import page
from profiles.reports.build_report import build_report
from profiles.reports.html import MISSING, PAGE, render_html, render_run, save_html
from profiles.reports.plots import (
    DARK,
    LIGHT,
    draw_gates,
    draw_latency,
    draw_scores,
    inline_svg,
    save_svg,
    spread,
)
from profiles.timing.layer_times import LayerTime, LayerTimes
from tests.support.reports import profile_of, runtime
from tests.support.search_logs import log_entry

SECTIONS = ["layers", "accuracy", "latency", "cost", "choice", "exports", "not-measured", "how", "words"]
HOSTILE = (
    '</style><script>alert("1")</script><img src=x onerror=alert(2)>\' & {{ 7*7 }} $x_$ \N{RIGHT-TO-LEFT OVERRIDE}'
)
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
VOID = {"meta", "link", "img"}


@dataclass
class Element:
    tag: str
    attributes: dict
    parts: list = field(default_factory=list)

    @property
    def text(self):
        return "".join(part if isinstance(part, str) else part.text for part in self.parts)

    def all(self, tag, **wanted):
        for part in self.parts:
            if isinstance(part, Element):
                if part.tag == tag and wanted.items() <= part.attributes.items():
                    yield part
                yield from part.all(tag, **wanted)


class Reader(HTMLParser):
    """Reads a page whose every element is closed, in order."""

    def __init__(self):
        super().__init__()
        self.open = [Element("page", {})]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, dict(attrs))
        self.open[-1].parts.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.open[-1].parts.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag

    def handle_data(self, data):
        self.open[-1].parts.append(data)


def read(text):
    reader = Reader()
    reader.feed(text)
    reader.close()
    (root,) = reader.open
    return root


def everything(element):
    for part in element.parts:
        if isinstance(part, Element):
            yield part
            yield from everything(part)


def times_of(report, which, scale):
    names = [candidate.name for candidate in report.candidates]
    layers = [
        LayerTime(name=name, pool="fusion", ms=scale * (1 + n), macs=1000 * (n + 1)) for n, name in enumerate(names)
    ]
    overhead = LayerTime(name="between layers", pool="overhead", ms=-0.5, macs=0)
    return LayerTimes(runtime="torch", which=which, whole_ms=100 * scale, layers=(*layers, overhead))


def flip(outcome, text="is it a cup?", full="yes"):
    return Flip(
        sample=1,
        text=text,
        expected="yes",
        full=full,
        slim="no",
        outcome=outcome,
        answer_type="yes/no",
        question_type="is it",
        image=PIXEL,
    )


def flips(**changes):
    total = FlipCount(samples=200, changed=20, lost=12, gained=6)
    few = FlipCount(samples=40, changed=10, lost=8, gained=1)
    found = Flips(
        total=total,
        by_answer_type={"yes/no": few, "other": FlipCount(samples=160, changed=10, lost=4, gained=5)},
        by_question_type={},
        examples=(flip("lost"), flip("gained"), flip("other")),
    )
    return found.model_copy(update=changes)


def gates(report, updates=5):
    names = [candidate.name for candidate in report.candidates]
    return [
        log_entry(names[:2], gates={name: update * (number - 5) / 10 for number, name in enumerate(names)})
        for update in range(1, updates + 1)
        for _ in range(3)
    ]


@pytest.fixture(scope="module")
def made(shared_run):
    """A run that was neither exported nor profiled, and its report."""
    return shared_run, build_report(shared_run)


@pytest.fixture(scope="module")
def rich(made):
    """A report of a run of which everything is known."""
    report = made[1]
    profile = profile_of(torch=([20.0, 21.0, 22.0] * 9, [10.0, 10.5, 11.0] * 9), onnxruntime=([9.0] * 20, [9.0] * 20))
    times = times_of(report, "full", 1.0), times_of(report, "slim", 0.5)
    return report.model_copy(
        update={
            "profile": profile.model_copy(update={"layers": times, "command": "das profile", "date": "2026-01-01"}),
            "flips": flips(),
        }
    )


@pytest.fixture(scope="module")
def text(made, rich):
    return render_html(rich, made[0].search_log(), build_pareto(made[0]))


def test_every_part_is_there_in_order(text):
    assert text.startswith("<!DOCTYPE html>")
    root = read(text)
    assert [section.attributes["id"] for section in root.all("section")] == SECTIONS
    (title,) = root.all("title")
    (heading,) = root.all("h1")
    assert title.text == heading.text == "meter.ckpt: 8 layers skipped"
    exported = MISSING["exports"][0]
    assert [found.text.partition("  ")[0].strip() for found in root.all("p", **{"class": "absent"})] == [
        f"{exported} {MISSING['exports'][1]}"
    ]


def test_nothing_is_fetched_and_nothing_runs(text):
    assert len(text) < 2_000_000
    for element in everything(read(text)):
        assert element.tag not in {"script", "iframe", "object", "base", "form"}
        for name, value in element.attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href"}:
                assert value.startswith(("data:", "#")), element
    assert all(address.startswith("#") for address in re.findall(r"url\(\s*['\"]?([^)'\"]*)", text))
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_identifiers_are_unique_and_lead_somewhere(text):
    elements = list(everything(read(text)))
    names = [element.attributes["id"] for element in elements if "id" in element.attributes]
    assert len(names) == len(set(names))
    led_to = {element.attributes["href"] for element in elements if element.attributes.get("href", "")[:1] == "#"}
    led_to |= set(re.findall(r"url\((#[^)]*)\)", text))
    assert len(led_to) > 4
    assert led_to <= {f"#{name}" for name in names}


def test_the_same_bytes_every_time(made, rich, text):
    assert render_html(rich, made[0].search_log(), build_pareto(made[0])) == text


def test_a_run_of_which_little_is_known(made):
    """By hand, after a transfer: no search, no score of the full model, no profile, no exports, no flips."""
    report = made[1].model_copy(
        update={"full": None, "strategy": "by hand", "candidates": (), "answer_agreement": None, "flips": None}
    )
    root = read(render_html(report))
    said = [" ".join(found.text.split()) for found in root.all("p", **{"class": "absent"})]
    expected = ("full", "flips", "profile", "layers", "search", "front", "exports")
    assert said == [" ".join(MISSING[part]) for part in expected]
    assert not list(root.all("svg"))
    assert len([part for part in everything(root) if part.attributes.get("class") == "bar full"]) > 5  # MACs by pool


def test_commands_that_are_named_exist(made):
    from typer.main import get_command

    from das.main import app

    commands = get_command(app).commands
    for _, command in MISSING.values():
        words = [word for word in command.split()[1:] if word.islower()]
        known = {option for parameter in commands[words[0]].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, command


def test_nothing_of_a_user_becomes_markup(made, rich):
    report = rich.model_copy(
        update={
            "run": HOSTILE,
            "checkpoint": HOSTILE,
            "command": HOSTILE,
            "data": ({**rich.data[0], "files": [HOSTILE], "unreadable": [HOSTILE]},),
            "versions": {HOSTILE: HOSTILE},
            "settings": rich.settings.model_copy(update={"checkpoint": HOSTILE}),
            "profile": rich.profile.model_copy(update={"runtimes": (runtime(HOSTILE, [2.0] * 9, [1.0] * 9),)}),
            "flips": flips(
                by_question_type={HOSTILE: FlipCount(samples=1, changed=1, lost=1, gained=0)},
                examples=(flip("lost", text=HOSTILE, full=HOSTILE),),
                note=HOSTILE,
            ),
        }
    )
    front = build_pareto(made[0]).model_copy(update={"metric": HOSTILE, "run": HOSTILE, "cost": HOSTILE})
    found = render_html(report, gates(report), front)
    root = read(found)
    assert not list(root.all("script"))
    assert all(image.attributes["src"] == PIXEL for image in root.all("img"))
    assert found.lower().count("<style") == found.lower().count("</style") == 1
    shown = [element for element in everything(root) if element.text.strip() == HOSTILE.strip()]
    assert {element.tag for element in shown} >= {"code", "bdi", "td", "th"}
    texts = "".join(element.text for svg in root.all("svg") for element in svg.all("text"))
    assert HOSTILE in texts  # matplotlib takes no dollar sign for a formula


def test_the_picture_is_the_plan(made, text):
    boxes = {
        box.text.partition(":")[0]: box.attributes["class"] for pool in read(text).all("ol") for box in pool.all("li")
    }
    manifest = made[0].manifest
    assert {name for name, state in boxes.items() if state == "cut"} == set(manifest.plan.layers)
    assert {name for name, state in boxes.items() if state != "fixed"} == set(manifest.candidates)
    assert len(boxes) == 2 + 2 + 12
    assert [len(pool) for pool in page.list_pools(made[1]).values()] == [2, 2, 6, 6]
    by_hand = made[1].model_copy(update={"strategy": "by hand"})
    assert {box.state for pool in page.list_pools(by_hand).values() for box in pool} == {"cut", "kept"}


def test_bars_are_as_long_as_what_they_stand_for(rich, text):
    (_, costs) = page.chart_layer_costs(rich)
    last = costs.rows[-2]
    assert (last.full, last.slim, last.full_share, last.slim_share) == ("12.0", "6.00", 100.0, 50.0)
    overhead = costs.rows[-1]
    assert (overhead.full, overhead.full_share) == ("-0.50", None)
    assert {row.name for row in costs.rows if row.cut} == set(rich.skipped)
    cells = next(cells for row in read(text).all("tr") if (cells := list(row.all("td"))) and cells[-1].text == "6.00")
    assert [bar.attributes["style"] for bar in cells[0].all("span")] == ["width:100.0%", "width:50.0%"]
    slim = next(entry for entry in page.list_headlines(rich) if entry.row.name == "MACs")
    assert slim.slim == pytest.approx(100 * rich.costs.macs.slim / rich.costs.macs.full)


def test_macs_where_layers_were_not_timed(made):
    (costs,) = page.chart_layer_costs(made[1])
    assert [row.name for row in costs.rows][:3] == ["LEn0", "LEn1", "VEn0"]
    assert max(row.full_share for row in costs.rows) == 100


def test_answers_that_changed(text):
    (section,) = read(text).all("section", id="accuracy")
    assert "20 of 200 answers changed: 12 lost, 6 gained, 2 wrong both times" in section.text
    yes = next(row for row in section.all("tr") if row.text.startswith("yes/no"))
    assert [cell.text for cell in yes.all("td")][1:] == ["25.0 %", "8", "1", "40"]
    widths = [bar.attributes["style"] for bar in yes.all("span")]
    assert widths == ["width:80.0%", "width:10.0%", "width:10.0%"]  # 20, 2.5 and 2.5 of the largest share, 25 %
    assert len(list(section.all("img"))) == 3


def test_gates_are_drawn_where_the_search_had_them(made, rich):
    log = gates(rich)
    found = page.plot_choice(rich, log)
    assert "5 updates" in found.caption
    texts = {element.text for element in read(found.svg).all("text")}
    assert {candidate.name for candidate in rich.candidates} <= texts
    axes = draw_gates([log[0].gates, log[-1].gates], ["FL0"]).axes[0]
    lines = {tuple(line.get_ydata()): line.get_color() for line in axes.lines}
    assert lines[0.0, -0.5, -2.5] == LIGHT["cut"]
    assert lines[0.0, 0.6, 3.0] == LIGHT["full"]


def test_scores_are_drawn_without_gates(made):
    assert "Scores in the search" in page.plot_choice(made[1], made[0].search_log()).caption
    figure = draw_scores(
        {"A": Contrast(skipped=0.5, kept=0.9), "B": Contrast(skipped=0.8, kept=0.7)}, ["B"], "accuracy"
    )
    kept, skipped = figure.axes[0].lines
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["A", "B"]
    assert list(kept.get_xdata()) == pytest.approx([90, 70])
    assert list(skipped.get_xdata()) == pytest.approx([50, 80])


def test_a_distribution_reaches_half_at_the_median():
    found = runtime("torch", [20.0, 21.0, 30.0] * 50, [10.0, 10.5, 11.0] * 50)
    axes = draw_latency(found).axes[0]
    curve = dict(zip(axes.lines[0].get_ydata(), axes.lines[0].get_xdata(), strict=True))
    assert (curve[0.0], curve[50.0], curve[100.0]) == (20.0, 21.0, 30.0)
    assert axes.lines[1].get_xdata()[0] == 21.0


def test_calls_that_all_take_the_same_are_drawn():
    assert "slim" in inline_svg(draw_latency(runtime("torch", [9.0] * 9, [9.0] * 9)), "same", "the same")


def test_labels_keep_their_distance():
    apart = spread([0.0, 0.0, 0.1, 5.0], 1.0)
    assert all(upper - lower >= 1 - 1e-9 for lower, upper in pairwise(apart))
    assert sum(apart[:3]) / 3 == pytest.approx(0.1 / 3, abs=0.5)
    assert apart[3] == 5.0
    assert spread([0.0, 2.0], 1.0) == [0.0, 2.0]


def test_a_figure_in_a_page_has_the_page_s_colours_and_alone_its_own(tmp_path):
    figure = draw_latency(runtime("torch", [2.0] * 9, [1.0] * 9))
    inside = inline_svg(figure, "one", 'what "it" says')
    assert "var(--slim)" in inside
    assert not any(colour in inside for colour in LIGHT.values())
    assert 'aria-label="what &quot;it&quot; says"' in inside
    save_svg(figure, tmp_path / "one.svg")
    alone = (tmp_path / "one.svg").read_text()
    assert LIGHT["slim"] in alone
    assert "var(--" not in alone
    assert ElementTree.fromstring(alone).tag.endswith("svg")
    assert LIGHT.keys() == DARK.keys()


def test_it_is_written_into_the_run(run_here):
    run = open_run(run_here)
    report = build_report(run)
    save_html(run, report)
    assert (run_here / PAGE).read_text() == render_run(run, report)
    assert not list(run_here.glob(".report*"))
    gone = Run(run_here / "gone", run.manifest)
    with pytest.raises(EnvironmentProblem):
        save_html(gone, report)


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    playwright_api = pytest.importorskip("playwright.sync_api")
    with playwright_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture
def sheet(browser):
    """An empty page that keeps what it complains about and what it asks for; data inside a page is no request."""
    page = browser.new_page()
    page.complaints, page.requests = [], []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(error.message))
    page.on("request", lambda request: page.requests.append(request.url))
    yield page
    page.close()


def addresses(sheet):
    return [address for address in sheet.requests if not address.startswith("data:")]


@pytest.mark.parametrize("width", [360, 1000])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser(sheet, text, tmp_path, width, scheme):
    """No complaint, no request but for the page itself, no sideways scrolling, its colours."""
    file = tmp_path / PAGE
    file.write_text(text, encoding="utf-8")
    sheet.set_viewport_size({"width": width, "height": 900})
    sheet.emulate_media(color_scheme=scheme)
    sheet.goto(file.as_uri())
    assert sheet.complaints == []
    assert addresses(sheet) == [file.as_uri()]
    assert sheet.evaluate("document.documentElement.scrollWidth") <= width
    paper = {"light": LIGHT, "dark": DARK}[scheme]["paper"]
    red, green, blue = (int(paper[at : at + 2], 16) for at in (1, 3, 5))
    assert sheet.evaluate("getComputedStyle(document.body).backgroundColor") == f"rgb({red}, {green}, {blue})"
    assert sheet.evaluate("[...document.images].every(image => image.naturalWidth > 0)")


def test_the_browser_would_tell(sheet, tmp_path):
    """The check above can fail."""
    file = tmp_path / "bad.html"
    file.write_text("<img src='https://example.invalid/x.png'><script>console.error('oh'); nothing()</script>")
    sheet.goto(file.as_uri())
    assert len(sheet.complaints) >= 2
    assert "https://example.invalid/x.png" in addresses(sheet)


def test_on_paper_it_is_light(sheet, text, tmp_path):
    file = tmp_path / PAGE
    file.write_text(text, encoding="utf-8")
    sheet.emulate_media(media="print", color_scheme="dark")
    sheet.goto(file.as_uri())
    assert sheet.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
