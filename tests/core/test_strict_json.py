"""The strict JSON reader: what is in bounds comes back unchanged, all else is refused by name."""

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.api.strict_json import BadJSON, Limits, loads

BOM = b"\xef\xbb\xbf"
NO_SURROGATE_OR_NUL = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
STORABLE = st.text(NO_SURROGATE_OR_NUL, max_size=20)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | STORABLE
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(STORABLE, inner, max_size=5),
    max_leaves=30,
)


def refusal(raw: bytes | str, **limits: Any) -> tuple[str, str | None]:
    """Return code and pointer of the refusal of `raw`."""
    raw = raw.encode() if isinstance(raw, str) else raw
    with pytest.raises(BadJSON) as caught:
        loads(raw, limits=Limits(**limits))
    assert caught.value.message
    assert str(caught.value) == caught.value.message
    return caught.value.code, caught.value.pointer


def around(inner: str, depth: int) -> str:
    """Return `inner` inside `depth` arrays."""
    return "[" * depth + inner + "]" * depth


@given(value=VALUES, ascii_only=st.booleans(), indent=st.sampled_from([None, 2]))
def test_any_value_in_bounds_comes_back_unchanged(
    value: Any, ascii_only: bool, indent: int | None
) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    read = loads(raw)
    assert read == value
    assert json.dumps(read) == json.dumps(value)


@given(value=VALUES, padding=st.integers(65_536, 70_000))
def test_a_large_document_comes_back_unchanged_too(value: Any, padding: int) -> None:
    raw = json.dumps([value]).encode() + b" " * padding
    assert loads(raw) == [value]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(raw=st.binary(max_size=200) | STORABLE.map(str.encode))
def test_whatever_the_bytes_it_answers_a_value_or_bad_json(raw: bytes) -> None:
    try:
        value = loads(raw)
    except BadJSON:
        return
    assert json.loads(raw) == value


@pytest.mark.parametrize("raw", [b"", b" ", b"\r\n\t "])
def test_nothing_is_no_document(raw: bytes) -> None:
    assert refusal(raw) == ("empty_body", "")


def test_a_byte_order_mark_is_refused_only_at_the_start() -> None:
    assert refusal(BOM + b"{}") == ("byte_order_mark", "")
    assert loads(b'"' + BOM + b'"') == "\ufeff"


@pytest.mark.parametrize(
    "raw",
    [
        b'"\xff"',
        b'"\xc3"',
        b'"\xc0\xaf"',
        b'"\xed\xa0\x80"',
        b'"\xf4\x90\x80\x80"',
        "[]".encode("utf-16"),
    ],
    ids=["stray", "cut off", "overlong", "surrogate", "beyond Unicode", "utf-16"],
)
def test_what_is_not_utf8_is_refused(raw: bytes) -> None:
    assert refusal(raw) == ("invalid_utf8", None)


@pytest.mark.parametrize(
    "raw",
    [
        "{",
        "[1,]",
        '{"a":1,}',
        "{'a':1}",
        "01",
        "1 2",
        '"a',
        '"\t"',
        r'"\x"',
        "nul",
        "+1",
        ".5",
        "#",
    ],
)
def test_what_is_not_json_is_refused_with_its_place(raw: str) -> None:
    assert refusal(raw) == ("invalid_json", None)
    with pytest.raises(BadJSON, match=r"line \d+, column \d+"):
        loads(raw.encode())


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_know_are_refused(name: str) -> None:
    assert refusal(name) == ("not_a_number", "")
    assert refusal(f'{{"a":[0,{name},{name}]}}') == ("not_a_number", "/a/1")
    assert loads(f'"{name}"'.encode()) == name


@pytest.mark.parametrize(
    "digits",
    [
        "9223372036854775808",
        "-9223372036854775809",
        "1" + "0" * 5000,
        "-1" + "0" * 5000,
        "1e400",
        "-1e400",
        "1E+0309",
        "1.5e999999999999",
    ],
    ids=lambda digits: digits[:20],
)
def test_numbers_out_of_range_are_refused(digits: str) -> None:
    assert refusal(digits) == ("number_out_of_range", "")
    assert refusal(f'{{"a":{{"b":{digits}}}}}') == ("number_out_of_range", "/a/b")
    assert loads(f'["{digits}"]'.encode()) == [digits]


def test_a_float_of_many_digits_without_exponent_can_be_out_of_range() -> None:
    assert refusal("9" * 400 + ".0") == ("number_out_of_range", "")
    assert refusal("1" + "0" * 300 + "e99") == ("number_out_of_range", "")


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 0, -1])
def test_numbers_at_the_edge_are_read(number: int) -> None:
    assert loads(str(number).encode()) == number


@pytest.mark.parametrize("digits", ["1e308", "-1.7976931348623157e308", "1e-400", "1e0000000001"])
def test_floats_at_the_edge_are_read(digits: str) -> None:
    assert loads(digits.encode()) == float(digits)


@pytest.mark.parametrize(
    ("raw", "pointer"),
    [
        ('{"a":1,"a":1}', "/a"),
        ('{"x":[{"a":1,"b":2,"a":3}]}', "/x/0/a"),
        (r'{"a":1,"\u0061":2}', "/a"),
        ('{"a/b":{"~":1,"~":2}}', "/a~1b/~0"),
        ('{"":{"":1,"":2}}', "//"),
    ],
)
def test_a_key_that_appears_twice_is_refused(raw: str, pointer: str) -> None:
    assert refusal(raw) == ("duplicate_key", pointer)


def test_the_same_key_in_two_objects_is_no_duplicate() -> None:
    assert loads(b'[{"a":1},{"a":{"a":2}}]') == [{"a": 1}, {"a": {"a": 2}}]


def test_an_offence_that_a_duplicate_key_hides_is_refused_without_a_pointer() -> None:
    assert refusal('{"a":NaN,"a":1}') == ("not_a_number", None)


def test_an_object_has_at_most_2000_keys() -> None:
    most = {f"k{n}": n for n in range(2000)}
    assert loads(json.dumps([most, most]).encode()) == [most, most]
    more = json.dumps({"in": [most, most | {"one more": 1}]})
    assert refusal(more) == ("too_many_keys", "/in/1")
    assert refusal(more, free=frozenset({"in"})) == ("too_many_keys", "/in/1")


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting_ends_at_64(opening: str, closing: str) -> None:
    step = "/0" if opening == "[" else "/a"
    assert loads((opening * 64 + "1" + closing * 64).encode())
    assert refusal(opening * 65 + "1" + closing * 65) == ("too_deep", step * 64)
    assert refusal(opening * 65 + '"' + "[" * 99 + '"' + closing * 65) == ("too_deep", step * 64)


def test_the_pointer_names_the_branch_that_is_too_deep() -> None:
    raw = f'{{"shallow":{around("1", 60)},"deep":[0,{around("1", 63)}]}}'
    assert refusal(raw) == ("too_deep", "/deep/1" + "/0" * 62)


def test_brackets_inside_text_do_not_nest() -> None:
    value = ["[" * 1000 + '"{' * 1000]
    assert loads(json.dumps(value).encode()) == value


def test_many_brackets_side_by_side_do_not_nest() -> None:
    assert loads(json.dumps([[{}]] * 500).encode()) == [[{}]] * 500


@pytest.mark.parametrize("bomb", ["[" * 100_000, '{"a":' * 100_000, around("", 100_000)])
def test_a_nesting_bomb_is_refused_at_once(bomb: str) -> None:
    raw = bomb.encode()
    took = []
    for _ in range(3):  # the collector may choose one of them for its work
        started = time.process_time()
        assert refusal(raw)[0] == "too_deep"
        took.append(time.process_time() - started)
    assert min(took) < 0.1


@pytest.mark.parametrize(
    ("raw", "pointer"),
    [
        (r'"\u0000"', ""),
        (r'{"a":["x","y\u0000z"]}', "/a/1"),
        (r'{"a":{"k\u0000":1}}', "/a"),
    ],
)
def test_an_escaped_nul_is_refused(raw: str, pointer: str) -> None:
    assert refusal(raw) == ("nul_character", pointer)
    assert refusal(raw, free=frozenset({""})) == ("nul_character", pointer)


def test_a_pointer_does_not_repeat_a_key_that_is_no_clean_text() -> None:
    assert refusal(r'{"a":{"k\u0000":NaN}}') == ("not_a_number", "/a")
    assert refusal(r'{"a":{"\ud800":1,"\ud800":2}}') == ("duplicate_key", "/a")


@pytest.mark.parametrize("raw", [b'"\0"', b'{"a\0":1}', b"\0", b"[1\0]"])
def test_a_raw_nul_is_refused(raw: bytes) -> None:
    assert refusal(raw) == ("nul_character", None)


@pytest.mark.parametrize("half", [r"\ud800", r"\udfff", r"\uDBFF", r"\udc00\ud800", r"\uD83Dx"])
def test_half_a_surrogate_pair_is_refused(half: str) -> None:
    assert refusal(f'"{half}"') == ("lone_surrogate", "")
    assert refusal(f'{{"a":[{{"b":"{half}"}}]}}') == ("lone_surrogate", "/a/0/b")
    assert refusal(f'{{"a":{{"{half}":1}}}}') == ("lone_surrogate", "/a")
    assert refusal(f'{{"input":"{half}"}}', free=frozenset({"input"})) == (
        "lone_surrogate",
        "/input",
    )


def test_halves_in_two_texts_do_not_make_a_pair() -> None:
    assert refusal(r'["\ud83d","\ude00"]') == ("lone_surrogate", "/0")


def test_whole_pairs_and_escaped_backslashes_are_read() -> None:
    assert loads(rb'["\ud83d\ude00","\\u0000","\\ud800"]') == ["\U0001f600", r"\u0000", r"\ud800"]


def test_a_text_has_at_most_64_kib() -> None:
    assert loads(json.dumps(["x" * 65_536]).encode()) == ["x" * 65_536]
    assert refusal(json.dumps({"a": ["", "x" * 65_537]})) == ("string_too_long", "/a/1")
    assert refusal(json.dumps("x" * 65_537)) == ("string_too_long", "")


@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_text_is_measured_in_bytes_of_utf8(ascii_only: bool) -> None:
    fits, too_long = "é" * 32_768, "é" * 32_769
    assert loads(json.dumps([fits], ensure_ascii=ascii_only).encode()) == [fits]
    assert refusal(json.dumps([too_long], ensure_ascii=ascii_only)) == ("string_too_long", "/0")


def test_a_key_has_at_most_64_kib() -> None:
    assert refusal(json.dumps({"a": {"k" * 65_537: 1}})) == ("string_too_long", "/a")


LONG = "x" * 100_000


@pytest.mark.parametrize(
    ("free", "value"),
    [
        ("input", {"input": LONG}),
        ("input", {"input": {"config": [{"lines": LONG, LONG: 1}]}}),
        ("input", [{"input": LONG}]),
        ("options.variables", {"options": {"variables": {"a": LONG}}}),
        ("tasks.input", {"tasks": [{"input": LONG}, {"input": [LONG]}]}),
        ("", LONG),
        ("", {"anything": [LONG]}),
    ],
)
def test_free_members_hold_text_of_any_length(free: str, value: Any) -> None:
    raw = json.dumps(value).encode()
    assert loads(raw, limits=Limits(free=frozenset({free, "other"}))) == value
    assert refusal(raw)[0] == "string_too_long"


@pytest.mark.parametrize(
    ("value", "pointer"),
    [
        ({"input": "", "reason": LONG}, "/reason"),
        ({"nested": {"input": LONG}}, "/nested/input"),
        ({"inputs": LONG}, "/inputs"),
        ({"options": {"name": LONG}}, "/options/name"),
        ({"options": LONG}, "/options"),
        ({"options.variables": LONG}, "/options.variables"),
        ({"variables": LONG}, "/variables"),
        ({LONG: 1}, ""),
    ],
)
def test_beside_free_members_the_limit_holds(value: Any, pointer: str) -> None:
    free = frozenset({"input", "options.variables", "input.deeper"})
    assert refusal(json.dumps(value), free=free) == ("string_too_long", pointer)


def test_a_free_member_is_not_free_of_the_other_limits() -> None:
    free = frozenset({"input"})
    assert refusal(f'{{"input":{around("", 64)}}}', free=free)[0] == "too_deep"
    assert refusal('{"input":1e400}', free=free) == ("number_out_of_range", "/input")
    assert refusal('{"input":{"a":1,"a":1}}', free=free) == ("duplicate_key", "/input/a")


def test_a_pointer_ends_before_it_grows_long() -> None:
    assert refusal(json.dumps({"a": {"k" * 2000: float("nan")}})) == ("not_a_number", "/a")


def test_ten_mebibytes_are_read_in_bounded_time() -> None:
    record = {"id": "0f8fad5b-d9cb-469f-a165-70867728950e", "n": 5, "tags": ["a", "é"], "x": {}}
    raw = json.dumps([record] * 90_000).encode()
    raw += b" " * (10 * 1024 * 1024 - len(raw))
    started = time.process_time()
    assert len(loads(raw)) == 90_000  # type: ignore[arg-type]
    # Measured at half a second; the room is for slow and busy machines.
    assert time.process_time() - started < 4
