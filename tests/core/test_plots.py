"""Figures: what is drawn where, in which colour and order, and with which words for those who cannot see it."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from roadseg import metrics, plots
from roadseg.training import Progress


@pytest.fixture
def shown(monkeypatch):
    """What `display` is given."""
    calls = []

    class Handle:
        def update(self, bundle, **options):
            calls.append((self, bundle, options))

    def display(bundle, **options):
        calls.append((None, bundle, options))
        return Handle() if options.get("display_id") else None

    monkeypatch.setattr("IPython.display.display", display)
    return calls


def curves(epochs, start=0.8):
    """Curves of a run, as `Run.curves` has them."""
    epoch = np.arange(1, epochs + 1)
    names = ("loss", "val_loss", "accuracy", "val_accuracy")
    return {"epoch": epoch, **{name: start + 0.01 * epoch + 0.001 * i for i, name in enumerate(names)}}


def test_errors_have_the_house_colours():
    image = np.full((2, 3, 3), 100, np.uint8)
    road = np.array([[1, 1, 0], [0, 1, 0]], bool)
    predicted = np.array([[1, 0, 1], [0, 1, 1]], bool)
    evaluated = np.array([[1, 1, 1], [1, 0, 0]], bool)
    picture = plots.error_picture(image, road, evaluated, predicted)

    def mixed(colour):
        return 0.35 * 100 / 255 + 0.65 * np.array(to_rgb(colour))

    np.testing.assert_allclose(picture[0], [mixed(plots.RIGHT), mixed(plots.MISSED), mixed(plots.FALSE)])
    np.testing.assert_allclose(picture[1], 100 / 255)  # not road, then two excluded pixels: they stay grey


def test_comparison_shows_image_truth_prediction_errors(roads):
    names = roads.names[3:5]
    figure = plots.comparison(roads, names, roads.road[3:5].astype(np.float32))
    axes = np.array(figure.axes).reshape(2, 4)
    for row, i in zip(axes, (3, 4)):
        image, truth, prediction, errors = (cell.images[0].get_array() for cell in row)
        np.testing.assert_array_equal(image, roads.images[i])
        np.testing.assert_array_equal(truth, roads.road[i])
        np.testing.assert_array_equal(prediction, roads.road[i])
        right = roads.road[i] & roads.evaluated[i]
        assert (errors[right][:, 2] > errors[right][:, 0]).all()  # all found, so the road is blue
    assert [cell.get_title() for cell in axes[0]] == [names[0], "truth", "probability of road", "errors"]
    assert all(name in figure.get_label() for name in names)


def test_comparison_reads_eight_bits_as_probabilities(roads):
    eight_bits = plots.comparison(roads, roads.names[:1], np.full((1, 32, 32), 255, np.uint8), threshold=0.9)
    np.testing.assert_array_equal(eight_bits.axes[2].images[0].get_array(), 1.0)


def test_curves_dash_training_and_label_validation():
    figure = plots.curves({"U-Net": curves(3), "simple": curves(3, 0.7)}, no_road=0.82)
    loss, accuracy = figure.axes
    styles = [line.get_linestyle() for line in loss.lines[:4]]
    assert styles == ["--", "-", "--", "-"] and loss.lines[0].get_color() == loss.lines[1].get_color()
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), curves(3)["val_loss"])
    assert {text.get_text() for text in accuracy.texts} == {"U-Net", "simple", "NO ROAD everywhere"}
    assert "U-Net: loss 0.831, accuracy 0.833" in figure.get_label()


def test_labels_of_lines_that_end_together_stay_apart():
    figure = plots.curves({name: curves(4) for name in "abc"})
    heights = sorted(text.xy[1] for text in figure.axes[0].texts)
    low, high = figure.axes[0].get_ylim()
    assert np.diff(heights).min() > 0.05 * (high - low)


def test_show_gives_alternative_text_and_a_constant_text_form(shown, roads):
    plots.show(plots.gallery(roads, [0, 1]), "Two roads.")
    plots.show(plots.bars({"a": {"F1": 0.5}, "b": {"F1": np.nan}}, columns=["F1"]), "One score.")
    (_, photo, options), (_, caption, _), (_, drawing, drawing_options), _ = shown
    assert set(photo) == {"image/jpeg", "text/plain"} and photo["text/plain"] == "Two roads."
    assert roads.names[0] in options["metadata"]["image/jpeg"]["alt"]
    assert Image.open(io.BytesIO(photo["image/jpeg"])).width == plots.WIDTH * plots.DOTS
    assert caption["text/markdown"].startswith("*Two roads.*\n\n<details><summary>In words</summary>")
    assert caption["text/markdown"].endswith(f"{options['metadata']['image/jpeg']['alt']}</details>")
    assert set(drawing) == {"image/png", "text/plain"}
    assert drawing_options["metadata"]["image/png"]["alt"] == "Scores: a F1 0.500; b F1 nan."


def test_live_is_one_figure_that_grows(shown, roads):
    watch = plots.live(roads)
    for epoch in range(3):
        prediction = np.zeros((15, 32, 32), np.uint8) if epoch else None
        names = roads.names[:15]
        watch(Progress("simple, small, seed 0", epoch, 2, curves(epoch), prediction, names, 1.5, 1.5 * (2 - epoch)))
    figures, words = shown[::2], shown[1::2]
    assert "epoch 2 of 2, validation loss 0.821" in words[-1][1]["text/markdown"]
    assert words[0][1]["text/markdown"].startswith("*The first epoch is under way (simple, small, seed 0).*")
    right = f"{curves(2)['val_accuracy'][-1]:.1%}"
    assert words[-1][1]["text/markdown"].startswith(
        f"*After epoch 2 {right} of all validation pixels are right (simple,"
    )
    assert [handle is None for handle, _, _ in figures] == [True, False, False]
    assert len({bundle["text/plain"] for _, bundle, _ in figures}) == 1
    kinds = [next(iter(options["metadata"])) for _, _, options in figures]
    assert "epoch 2 of 2" in figures[-1][2]["metadata"][kinds[-1]]["alt"]


def test_the_live_figure_draws_curves_pace_and_time_left(roads):
    prediction = np.zeros((15, 32, 32), np.uint8)
    progress = Progress("simple, small, seed 0", 2, 4, curves(2), prediction, roads.names[:15], 1.5, 83.0)
    figure = plots._training(progress, roads, None)
    assert figure.get_suptitle() == "simple, small, seed 0: epoch 2 of 4, 1.5 s an epoch, about 1:23 minutes left"
    loss, accuracy, picture = figure.axes
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        training, validation = axes.lines
        np.testing.assert_array_equal(training.get_ydata(), curves(2)[name])
        np.testing.assert_array_equal(validation.get_ydata(), curves(2)[f"val_{name}"])
        assert (training.get_linestyle(), validation.get_linestyle()) == ("--", "-")
    assert picture.get_title() == roads.names[0] and picture.images


def test_curves_of_all_seeds_share_a_colour_and_a_label():
    figure = plots.curves({"mine": curves(3), "stored": [curves(3, 0.5), curves(3, 0.6)]})
    loss = figure.axes[0]
    solid = [line.get_color() for line in loss.lines if line.get_linestyle() == "-" and len(line.get_xdata())]
    assert solid == [plots.COLOURS[0], plots.COLOURS[1], plots.COLOURS[1]]
    assert [text.get_text() for text in loss.texts] == ["stored", "mine"]
    assert figure.get_label().count("stored: loss") == 2


def test_thresholds_marks_the_best(roads):
    rng = np.random.default_rng(0)
    probability = np.clip(roads.road * 0.4 + rng.random(roads.road.shape) * 0.6, 0, 1)
    curve = metrics.curve(probability, roads.road)
    figure = plots.thresholds(curve)
    left, right = figure.axes
    assert [line.get_label() for line in left.lines[:4]] == ["precision", "recall", "F1", "IoU"]
    assert left.lines[4].get_xdata()[0] == curve.threshold
    assert (right.lines[1].get_xdata()[0], right.lines[1].get_ydata()[0]) == (curve.best.recall, curve.best.precision)
    assert f"Best F1 {curve.max_f1:.3f}" in figure.get_label()


def test_histograms_and_masks(roads):
    figure = plots.histograms({"road": np.array([0.1, 0.4]), "rest": np.array([0.9])})
    assert "road, median 0.25" in figure.get_label() and len(figure.axes) == 2
    figure = plots.masks({"all": roads.road.mean(0)})
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), roads.road.mean(0))


def test_table_formats_numbers():
    text = plots.table({"a": {"x": 0.12345, "n": 53761}, "b": {"x": float("nan"), "n": None}}, columns=("x", "n")).data
    assert text.splitlines() == ["| |x|n|", "|---|---:|---:|", "| a | 0.123 | 53,761 |", "| b | – | – |"]


def test_drawing_leaves_the_readers_settings_alone(roads):
    from matplotlib import rcParams

    before = dict(rcParams)
    plots.sample(roads.images[0] / 255, roads.road[0], roads.evaluated[0])
    assert dict(rcParams) == before


def test_steps_are_means_of_the_last_ones_above_a_dotted_line():
    named = {name: {"step": np.arange(1, 9), "loss": np.arange(8.0), "accuracy": np.full(8, 0.5)} for name in "ab"}
    figure = plots.steps(named, no_road=0.82, window=4)
    loss, accuracy = figure.axes
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [1.5, 2.5, 3.5, 4.5, 5.5])
    np.testing.assert_array_equal(loss.lines[0].get_xdata(), [4, 5, 6, 7, 8])
    assert {line.get_linestyle() for line in loss.lines} == {"--"}  # as everything that is measured in training
    assert [text.get_text() for text in loss.texts] == ["a", "b"]
    assert accuracy.lines[2].get_ydata()[0] == 0.82 and "a: loss 5.500" in figure.get_label()


@pytest.mark.parametrize(
    "ends", [(0.834, 0.818), (0.833, 0.8195), (0.82, 0.9), (0.82, 0.7), (0.9, 0.95), (0.845, 0.8185)]
)
def test_no_road_is_written_where_no_label_is(ends):
    named = {
        name: {
            "step": np.arange(1, 9),
            "loss": np.zeros(8),
            "accuracy": np.r_[np.linspace(0.6, 0.8, 4), np.full(4, end)],
        }
        for name, end in zip(("U-Net at 1e-4", "simple model"), ends)
    }
    figure = plots.steps(named, no_road=0.82, window=4)
    figure.canvas.draw()
    *labels, no_road = (text.get_window_extent() for text in figure.axes[1].texts)
    assert len(labels) == 2 and not any(no_road.overlaps(label) for label in labels)


def test_labels_that_are_moved_beyond_the_axes_are_drawn():
    named = {
        name: {
            "step": np.arange(1, 9),
            "loss": np.zeros(8),
            "accuracy": np.r_[np.linspace(0.6, 0.8, 4), np.full(4, 0.95)],
        }
        for name in "abcd"
    }
    figure = plots.steps(named, window=4)
    figure.canvas.draw()
    texts = figure.axes[1].texts
    assert max(text.xy[1] for text in texts) > figure.axes[1].get_ylim()[1]
    assert {text.get_annotation_clip() for text in texts} == {False}


def test_lines_keep_their_names_and_places():
    figure = plots.lines(
        {"with": [0.6, 0.4, 0.1], "without": [0.6, 0.5, 0.1]}, along=(1, 2, 3), labels=("pixels", "share wrong")
    )
    first, second = figure.axes[0].lines
    np.testing.assert_array_equal(second.get_ydata(), [0.6, 0.5, 0.1])
    assert "share wrong by pixels: with from 0.600 to 0.100" in figure.get_label()
    named = {text.get_text(): (text.get_color(), text.xy) for text in figure.axes[0].texts}
    assert named == {"with": (first.get_color(), (2, 0.4)), "without": (second.get_color(), (2, 0.5))}


def test_precision_recall_marks_max_f_and_tells_ap(roads):
    rng = np.random.default_rng(0)
    curve = metrics.curve(np.clip(roads.road * 0.4 + rng.random(roads.road.shape) * 0.6, 0, 1), roads.road)
    figure = plots.precision_recall({"U-Net": curve})
    (dot,) = (line for line in figure.axes[0].lines if line.get_marker() == "o")
    assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (curve.best.recall, curve.best.precision)
    (text,) = (text.get_text() for text in figure.axes[1].get_legend().get_texts())
    assert text == f"U-Net: MaxF {curve.max_f1:.3f}, AP {curve.average_precision:.3f}" and text in figure.get_label()
    for line in figure.axes[0].lines[:5]:  # lines of equal F1
        recall, precision = (values[np.isfinite(line.get_ydata())] for values in line.get_data())
        f1 = 2 * recall * precision / (recall + precision)
        np.testing.assert_allclose(f1, f1[0])


def test_maps_share_one_scale():
    figure = plots.maps({"missed": np.full((4, 4), 0.1), "false": np.eye(4)}, unit="share", outline=np.eye(4) > 0)
    assert {image.get_clim() for axes in figure.axes[:2] for image in axes.images} == {(0, 1)}
    assert figure.get_label() == "Maps of share: missed from 0.1 to 0.1, false from 0 to 1."


def test_confusion_shows_shares_of_each_true_class():
    figure = plots.confusion({"softmax": np.array([[3, 1], [0, 2]])}, ("ROAD", "CARS"))
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.75", "0.25", "0.00", "1.00"]
    assert figure.axes[0].get_ylim() == (2, 0)  # the first class on top
    assert "softmax: ROAD 0.75, CARS 1.00" in figure.get_label()


def test_signals_have_one_scale_that_holds_all():
    figure = plots.signals({"signal": np.array([1.0, 3.0]), "learned": np.array([-2.0, 0.5, 0.1])})
    limits = {axes.get_ylim() for axes in figure.axes}
    assert len(limits) == 1 and next(iter(limits))[0] < -2 and next(iter(limits))[1] > 3
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_ydata(), [-2.0, 0.5, 0.1])


def test_pictures_have_titles_above_and_labels_beside():
    rows = {name: {"given": np.zeros((4, 4, 3)), "made": np.eye(4)} for name in ("um", "uu")}
    figure = plots.pictures(rows, describe="Streets.")
    assert [axes.get_title() for axes in figure.axes] == ["given", "made", "", ""]
    assert [axes.get_ylabel() for axes in figure.axes] == ["um", "", "uu", ""]
    assert figure.get_label() == "Streets. Rows: um, uu; columns: given, made."
    assert plots.pictures(rows, describe="", square=True).axes[0].get_aspect() == 1


def test_road_is_painted_in_the_colour_of_road_found():
    picture = plots.painted(np.array([[1, 3]]))
    np.testing.assert_allclose(picture, [[to_rgb(plots.RIGHT), to_rgb(plots.COLOURS[3])]])


def test_spread_shows_every_seed():
    stored = {"assigned": {"simple": [0.63, 0.64], "unet": [0.83, 0.84]}, "fast": {"unet": [0.9, 0.91]}}
    figure = plots.spread(stored, unit="MaxF", mark=("colour and position", 0.86))
    (axes,) = figure.axes
    dots = [line.get_xdata() for line in axes.lines[:-1]]
    np.testing.assert_allclose(dots, [[0.63, 0.64], [0.83, 0.84], [0.9, 0.91]])
    assert axes.lines[1].get_marker() == axes.lines[2].get_marker() != axes.lines[0].get_marker()
    assert axes.lines[-1].get_xdata()[0] == 0.86 and "fast, unet: 0.900, 0.910" in figure.get_label()


def test_photographs_are_jpeg_and_drawings_png_of_few_colours(shown, roads):
    plots.show(plots.masks({"mean": roads.road.mean(0)}), "A mean mask.")
    plots.show(plots.pictures({"um": {"image": roads.images[0]}}, describe="A road."), "A road.")
    (_, drawing, _), _, (_, photograph, _), _ = shown
    assert "image/jpeg" in photograph and Image.open(io.BytesIO(drawing["image/png"])).mode == "P"
