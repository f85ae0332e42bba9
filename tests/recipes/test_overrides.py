"""`--set` places typed values by name and says what is wrong with the rest."""

import pytest

from pgolf.config import StageConfig
from pgolf.errors import ConfigError
from pgolf.recipes.catalog import recipe_named
from pgolf.recipes.overrides import apply_overrides, field_paths, parse_value, validated, with_values
from pgolf.recipes.recipe import Recipe


class Train(StageConfig):
    """A section."""

    steps: int = 100
    rate: float = 0.1
    orders: tuple[int, ...] = (2, 3)
    limit: float | None = None


class Whole(StageConfig):
    """A recipe in small."""

    name: str = "x"
    train: Train = Train()
    other: Train | None = None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("200", 200),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ("[2,3]", [2, 3]),
        ("2..5", [2, 3, 4, 5]),
        ("0:0.3:0.1", [0.0, 0.1, 0.2, 0.3]),
        ("0.1,0.25", [0.1, 0.25]),
        ("word", "word"),
    ],
)
def test_values_are_read_as_a_person_means_them(text, value):
    assert parse_value(text) == value


@pytest.mark.parametrize("text", ["5..2", "0:1:0", "0:1:0.3", "0:-1:0.1"])
def test_an_empty_or_uneven_range_is_refused(text):
    with pytest.raises(ConfigError, match=text.split(":")[0]):
        parse_value(text)


def test_overrides_apply_in_order_and_leave_the_rest():
    changed = apply_overrides(Whole(), ["train.steps=200", "train.orders=4", "train.steps=300"])
    assert changed.train == Train(steps=300, orders=(4,))
    assert changed.name == "x"


def test_a_section_that_an_override_brings_in_has_fields_for_the_next():
    changed = apply_overrides(Whole(), ['other={"steps": 7, "rate": 0.5}', "other.steps=8", "other.orders=4"])
    assert changed.other == Train(steps=8, rate=0.5, orders=(4,))
    with pytest.raises(ConfigError, match=r"no field other\.stpes; did you mean other\.steps"):
        apply_overrides(Whole(), ["other={}", "other.stpes=8"])
    assert apply_overrides(Whole(), ["other.steps=8"]).other == Train(steps=8)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("train.stpes=3", r"no field train.stpes; did you mean train.steps\?"),
        ("steps=3", r"no field steps; did you mean train.steps\?"),
        ("train.steps=many", r"train.steps: .*integer.*\(got 'many'\)"),
        ("train.rate=NaN", "train.rate"),
        ("train.steps.x=1", "train.steps is 100 and has no fields"),
        ("train.steps", "is not NAME=VALUE"),
        ("zzz=1", "known here: name, train"),
    ],
)
def test_a_mistake_is_named_with_a_way_out(override, says):
    with pytest.raises(ConfigError, match=says):
        apply_overrides(Whole(), [override])


def test_field_paths_name_every_leaf():
    assert field_paths(Whole()) == ["name", "train.steps", "train.rate", "train.orders", "train.limit", "other"]


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("model.xsa_layers=null", None),  # where null is a value it is no list of null,
        ("model.xsa_layers=3", (3,)),  # and one member is a list where null was before
        ("compress.zstd_levels=3", (3,)),
        ("compress.sdclip_k=null", None),
    ],
)
def test_null_and_a_single_member_are_read_by_what_the_field_may_hold(override, value):
    path, _, _ = override.partition("=")
    section, name = path.split(".")
    for recipe in (recipe_named("pr715"), recipe_named("pr745")):
        assert getattr(getattr(apply_overrides(recipe, [override]), section), name) == value
    with pytest.raises(ConfigError, match=r"compress\.zstd_levels.*None"):
        apply_overrides(recipe, ["compress.zstd_levels=null"])


def test_a_tuple_may_be_written_as_python_prints_it():
    assert parse_value("(4, 5)") == [4, 5]
    assert parse_value("(4,)") == [4]


@pytest.mark.parametrize("seeds", [[10**30], [-1], ["x"], [1, 2**32]])
def test_what_follows_from_another_mistake_is_not_told_besides(seeds):
    with pytest.raises(ConfigError) as refusal:
        validated(Recipe, recipe_named("demo").model_dump() | {"seeds": seeds})
    assert str(refusal.value).startswith(f"seeds.{len(seeds) - 1}: Input should be ")
    assert "\n" not in str(refusal.value)
    with pytest.raises(ConfigError, match="seeds: this list has 0 values, and needs at least 1"):
        validated(Recipe, recipe_named("demo").model_dump() | {"seeds": []})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(("seeds", [True]), ("seeds", ["42"]), ("seeds", [42.0]), ("mix.alphas", [True]), ("mix.alphas", ["0.4"])),
        *(("train.steps", 20.0), ("train.steps", "20"), ("train.clock_limit_s", "600"), ("headline.alpha", True)),
        *(("compress.allow_over_budget", 1), ("compress.allow_over_budget", "yes"), ("tags", [3])),
        *(
            ("hint", {"orders": ["3"]}),
            ("score.ttt", {"kind": "lora", "rank": "8"}),
            ("mix.bayes", [{"share_rate": "0"}]),
        ),
    ],
)
def test_a_value_is_of_its_field_s_own_kind_wherever_it_stands(path, value):
    with pytest.raises(ConfigError, match=f"^{path}.*(Input should be|not yes or no)"):
        with_values(recipe_named("demo"), [(path, value)])


def test_every_field_of_every_section_is_strict_about_numbers():
    """Whatever is added later, too: no field reads text or a flag as a number."""
    lax = []

    def look(schema, where):
        if isinstance(schema, dict):
            if schema.get("type") in ("int", "float", "bool", "str") and not schema.get("strict"):
                lax.append(where)
            for name, part in schema.items():
                if name not in ("metadata", "serialization", "default"):
                    look(part, f"{where}.{name}")
        elif isinstance(schema, list | tuple):
            for part in schema:
                look(part, where)

    look(Recipe.__pydantic_core_schema__, "Recipe")
    assert not lax


@pytest.mark.parametrize(
    ("override", "value"),
    [
        *(
            ("train.steps=1e3", 1000),
            ("train.steps=20.0", 20),
            ("seeds=1.0,2", (1, 2)),
            ("mix.orders=2:4:1", (2, 3, 4)),
        ),
        *(("mix.alphas=0,1", (0.0, 1.0)), ("train.clock_limit_s=600", 600.0)),
        *(("compress.allow_over_budget=yes", True), ("compress.allow_over_budget=1", True)),
        *(("compress.allow_over_budget=Off", False), ("compress.allow_over_budget=true", True)),
    ],
)
def test_what_a_person_types_has_the_kind_that_the_field_needs(override, value):
    changed = apply_overrides(recipe_named("demo"), [override])
    for name in override.partition("=")[0].split("."):
        changed = getattr(changed, name)
    assert repr(changed) == repr(value)


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        *(("trian.steps", "train.steps"), ("Train.steps", "train.steps"), ("modle.width", "model.width")),
        *(("trian", "train"), ("scores", "score"), ("scores.window", "score.window"), ("hints", "hint")),
        *(("trian.nonsense", "train"), ("steps", "train.steps"), ("sed", "seeds"), ("train.stpes", "train.steps")),
    ],
)
def test_a_wrong_name_is_looked_for_among_sections_first(path, meant):
    with pytest.raises(ConfigError, match=rf"no field {path}; did you mean {meant}( or|\?)"):
        with_values(recipe_named("demo"), [(path, 3)])
