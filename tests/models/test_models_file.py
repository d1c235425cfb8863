"""The models that models.yaml names."""

from pathlib import Path

import pytest

from pilotlight.config import ConfigError
from pilotlight.models.catalog import in_folder_of
from pilotlight.models.models_file import read_models_file


def test_names_stand_in_both_places(read, tmp_path):
    """The map `models` and the top level count, a value is a path or a map of options."""
    entries = read(
        "models:\n"
        "  Assistant: weights/a.gguf\n"
        "  thinker:\n"
        "    path: /w/t.gguf\n"
        "    backend: llama_cpp\n"
        "    parallel: 2\n"
        "    context_length: 8192\n"
        "    threads: 4\n"
        "    gpu_layers: -1\n"
        "    chat_template: t.jinja\n"
        "    reasoning_format: think\n"
        "    tool_call_format: hermes\n"
        "small: s.gguf\n"
        "org/name:tag: {path: x.gguf}\n"
    )
    assert [(entry.name, entry.path, entry.source) for entry in entries] == [
        ("small", tmp_path / "s.gguf", "configured"),
        ("org/name:tag", tmp_path / "x.gguf", "configured"),
        ("assistant", tmp_path / "weights/a.gguf", "configured"),
        ("thinker", Path("/w/t.gguf"), "configured"),
    ]
    options = entries[3].options
    assert (options.backend, options.parallel, options.context_length) == ("llama_cpp", 2, 8192)
    assert (options.threads, options.gpu_layers, options.chat_template) == (4, -1, "t.jinja")
    assert (options.reasoning_format, options.tool_call_format) == ("think", "hermes")


def test_options_for_attention(read):
    """YAML 1.1 reads on and off as booleans; they are words here, in quotes or not."""
    on, off, rest = read(
        "'on': {path: a.gguf, flash_attention: on, cache_type_k: q8_0, cache_type_v: q4_0}\n"
        "'off': {path: b.gguf, flash_attention: 'off', deterministic: yes}\n"
        "rest: {path: c.gguf, kv_unified: true}\n"
    )
    assert (on.options.flash_attention, off.options.flash_attention) == ("on", "off")
    assert (on.options.cache_type_k, on.options.cache_type_v) == ("q8_0", "q4_0")
    assert (off.options.deterministic, rest.options.deterministic) == (True, None)
    assert (rest.options.flash_attention, rest.options.kv_unified) == (None, True)


def test_options_for_speculation(read):
    """Off is a boolean of YAML 1.1, and none here."""
    on, off, rest = read(
        "'on': {path: a.gguf, speculation: ngram, draft_max: 16, ngram_min: 5}\n"
        "'off': {path: b.gguf, speculation: off}\n"
        "rest: {path: c.gguf}\n"
    )
    assert (on.options.speculation, on.options.draft_max, on.options.ngram_min) == ("ngram", 16, 5)
    assert (off.options.speculation, rest.options.speculation) == ("none", None)


def test_draft_model_is_a_name_or_a_file(read, tmp_path):
    """An entry's name stands for its path; an adapter's parent has it too."""
    _, large, adapter, other, plain = read(
        "Small: {path: s/small.gguf}\n"
        "large: {path: l/large.gguf, draft_model: small, adapters: {tuned: t.gguf}}\n"
        "other: {path: o.gguf, draft_model: drafts/o.gguf, speculation: none}\n"
        "plain: p.gguf\n"
    )
    small = str(tmp_path / "s" / "small.gguf")
    assert (large.options.draft_model, large.options.speculation) == (small, "draft")
    assert adapter.base.options == large.options
    assert (other.options.draft_model, other.options.speculation) == ("drafts/o.gguf", "none")
    assert (plain.options.draft_model, plain.options.speculation) == (None, None)


def test_draft_model_of_a_relative_models_file_is_beside_that_file(tmp_path, monkeypatch):
    """Not in the model's own folder, where a relative path of the option would be."""
    monkeypatch.chdir(tmp_path)
    Path("models.yaml").write_text(
        "small: s/small.gguf\nlarge: {path: l/large.gguf, draft_model: small}\n"
    )
    _, large = read_models_file(Path("models.yaml"))
    drafts = in_folder_of(large.path, large.options.draft_model)
    assert drafts == tmp_path / "s" / "small.gguf"


def test_draft_model_at_an_address_is_fetched_before_the_model(tmp_path):
    """The model that an entry names has that entry's path and address."""
    file = tmp_path / "models.yaml"
    file.write_text(
        "small: hf://owner/repo/small.gguf\n"
        "large: {path: 'gs://bucket/l.gguf', draft_model: small, mmproj: 'gs://bucket/p.gguf'}\n"
        "local: {path: l.gguf, draft_model: small}\n"
    )
    small, large, local = read_models_file(file, tmp_path / "models")
    assert [one.root.name for one in large.origins] == [
        "mmproj-large.gguf",
        "small.gguf",
        "large.gguf",
    ]
    assert local.origins == (small.origin,)
    assert local.options.draft_model == str(small.path)


def test_drafts_without_a_draft_model_are_refused_at_the_start(read):
    """And not by the load, after the first request."""
    with pytest.raises(ConfigError, match=r"m: speculation: draft needs draft_model"):
        read("m: {path: a.gguf, speculation: draft}")


@pytest.mark.parametrize("option", ["draft_model", "chat_template", "baked", "mmproj"])
def test_empty_file_name_is_refused_by_its_key(read, option):
    """It would be the model's folder."""
    with pytest.raises(ConfigError, match=rf"m\.{option}: expected a string of at least 1"):
        read(f"m: {{path: a.gguf, {option}: ''}}")


def test_negative_gpu_layers_other_than_all_are_refused(read):
    """-1 is all."""
    (entry,) = read("m: {path: a.gguf, gpu_layers: -1}")
    assert entry.options.gpu_layers == -1
    with pytest.raises(ConfigError, match=r"m\.gpu_layers: expected an integer of at least -1"):
        read("m: {path: a.gguf, gpu_layers: -2}")


@pytest.mark.parametrize("address", ["hf://owner/repo/small.gguf", "https://host/small.gguf"])
def test_address_is_no_name_of_a_draft_model(read, address):
    """It would be a folder `hf:`."""
    with pytest.raises(ConfigError, match=r"large: draft_model: expected a file, or a name"):
        read(f"large: {{path: l.gguf, draft_model: '{address}'}}")


@pytest.mark.parametrize("option", ["draft_max: 0", "draft_max: 257", "ngram_min: 0"])
def test_draft_without_bounds(read, option):
    """Each drafted token takes a row of logits."""
    with pytest.raises(ConfigError, match=f"m.{option.partition(':')[0]}: "):
        read(f"m: {{path: a.gguf, {option}}}\n")


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (
            "speculation: mtp",
            "m.speculation: invalid value 'mtp'; expected one of none, ngram, draft",
        ),
        ("cache_type_k: q8", "m.cache_type_k: invalid value 'q8'; expected one of f32, f16, bf16,"),
        (
            "flash_attention: maybe",
            "m.flash_attention: invalid value 'maybe'; expected one of auto, on, off",
        ),
        ("isolation: thread", "m.isolation: invalid value 'thread'; expected one of none, process"),
    ],
)
def test_unknown_word(read, option, reason):
    """The key, the wrong value and the right ones are in the message."""
    with pytest.raises(ConfigError) as caught:
        read(f"m: {{path: a.gguf, {option}}}\n")
    assert reason in str(caught.value)


def test_prompts_are_texts_by_name(read):
    """An entry with them is a key like any other, and differs where they differ."""
    one, same, other = (
        read(f"e: {{path: e.gguf, prompts: {{query: '{text}'}}}}")[0] for text in ("q", "q", "Q")
    )
    assert one.options.prompts == {"query": "q"}
    assert {one: 1}.get(same) == 1
    assert {one: 1}.get(other) is None


@pytest.mark.parametrize(
    ("prompts", "where"),
    [("{query: 1}", r"e\.prompts"), ("[a]", r"e\.prompts"), ("{q: a, q: b}", "q: duplicate key")],
)
def test_prompts_that_are_none_are_refused(read, prompts, where):
    """The error names the key."""
    with pytest.raises(ConfigError, match=where):
        read(f"e: {{path: e.gguf, prompts: {prompts}}}")


def test_address_is_fetched_into_the_models_folder(tmp_path):
    """Under the entry's name, with the address's suffix; a split file is in a folder."""
    file = tmp_path / "models.yaml"
    file.write_text(
        "Mine: hf://owner/repo/m.gguf\n"
        "org/split: {path: 's3://bucket/m-00002-of-00002.gguf', parallel: 2}\n"
    )
    mine, split = read_models_file(file, tmp_path / "models")
    assert (mine.name, mine.path) == ("mine", tmp_path / "models" / "mine.gguf")
    assert split.origin.root == tmp_path / "models" / "org--split"
    assert split.path == split.origin.root / "m-00001-of-00002.gguf"
    assert split.options.parallel == 2


def test_projector_at_an_address_is_fetched_before_the_model(tmp_path):
    """Under the entry's name; a path is the user's, and false is none."""
    file = tmp_path / "models.yaml"
    file.write_text(
        "Mine: {path: 'hf://owner/repo/m.gguf', mmproj: 'gs://bucket/p-f16.gguf#sha256=%s'}\n"
        "local: {path: m.gguf, mmproj: 'https://host/p.gguf?secret'}\n"
        "beside: {path: 'hf://owner/repo/m.gguf', mmproj: p.gguf}\n"
        "blind: {path: 'hf://owner/repo/m.gguf', mmproj: false}\n"
        "plain: hf://owner/repo/m.gguf\n" % ("a" * 64)
    )
    models = tmp_path / "models"
    mine, local, beside, blind, plain = read_models_file(file, models)
    assert [one.root.name for one in mine.origins] == ["mmproj-mine.gguf", "mine.gguf"]
    assert mine.projector_origin.address.sha256 == "a" * 64
    assert mine.options.mmproj == str(models / "mmproj-mine.gguf")
    assert [one.root.name for one in local.origins] == ["mmproj-local.gguf"]
    assert (beside.options.mmproj, beside.projector_origin) == ("p.gguf", None)
    assert blind.projector_origin is None
    asked = [one.origin.with_projector for one in (mine, beside, blind, plain)]
    assert asked == [False, False, False, True]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("true", r"mmproj: expected a file, its address, or false"),
        ("''", r"mmproj: expected a string of at least 1 character"),
        ("1", r"mmproj: "),
        ("hf://owner/repo", r"mmproj: hf://owner/repo: expected the address of one file"),
        ("s3://bucket/folder/", r"mmproj: s3://bucket/folder/: expected the address of one file"),
        ("hf://o/r/m-00001-of-00002.gguf", r"mmproj: .*: expected the address of one file"),
        ("ftp://host/p.gguf", r"mmproj: ftp:// is not supported"),
    ],
)
def test_projector_that_is_none_is_refused_by_its_key(read, value, reason):
    with pytest.raises(ConfigError, match=rf"models\.yaml: models\.m.*{reason}"):
        read(f"models: {{m: {{path: m.gguf, mmproj: {value}}}}}")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("ftp://host/m.gguf", "ftp:// is not supported"),
        ("http://example.org/m.gguf", "for this machine only"),
        ("hf://owner/repo/*.gguf", "patterns are not supported"),
    ],
)
def test_bad_address_is_refused_by_its_key(read, value, reason):
    """At the start, before the first request for the model."""
    with pytest.raises(ConfigError, match=rf"models\.yaml: models\.m: .*{reason}"):
        read(f"models: {{m: '{value}'}}")


def test_paths_are_those_of_the_file_and_of_the_home_folder(read, tmp_path, monkeypatch):
    """A relative path starts at the file, `~` at the home folder, in a template's path too."""
    monkeypatch.setenv("HOME", "/home/me")
    entries = read("a: ../a.gguf\nb: {path: ~/b.gguf, chat_template: ~/b.jinja}")
    assert entries[0].path == tmp_path / "../a.gguf"
    assert entries[1].path == Path("/home/me/b.gguf")
    assert entries[1].options.chat_template == "/home/me/b.jinja"


def test_no_file_is_no_models(tmp_path):
    """models.yaml may be absent."""
    assert read_models_file(tmp_path / "models.yaml") == []


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "models:\n", "models: {}", "---\n..."])
def test_empty_file_is_no_models(read, text):
    """So may be what it holds."""
    assert read(text) == []


def test_anchors_share_options(read):
    """YAML's own means work: options can be written once."""
    entries = read("a: &a {path: a.gguf, parallel: 3}\nb: {<<: *a, path: b.gguf}")
    assert [(one.path.name, one.options.parallel) for one in entries] == [
        ("a.gguf", 3),
        ("b.gguf", 3),
    ]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("models: [a, b]", "models: expected a map"),
        ("models: []", "models: expected a map"),
        ("models: 0", "models: expected a map"),
        ("models: {a: {pth: x}}", r"models.a.pth: there is no such field; did you mean path\?$"),
        ("a: {parallel: 2}", "a.path: this field is required$"),
        ("a: {path: x, parallel: 0}", "a.parallel: expected an integer of at least 1$"),
        ("a: {path: x, parallel: two}", "a.parallel: expected an integer, got a string$"),
        ("a: {path: x, threads: 1.5}", "a.threads: expected an integer, got a number$"),
        ("a: {path: ''}", "a.path: expected a string of at least 1 character$"),
        ("a: ''", "a.path: expected a string of at least 1 character$"),
        ("a:", "a: expected a path or a map of options, got null$"),
        ("a: 5", "a: expected a path or a map of options, got an integer$"),
        ("a: [x]", "a: expected a path or a map of options, got an array$"),
        ("a: {path: {path: x}}", "a.path: expected a string, got an object$"),
        ("a: ~nobody-lives-here/x", "a: .*home"),
        ("A: x\na: y", "a: duplicate name of a model"),
        ("models: {a: x}\na: y", r"models.a: duplicate name of a model"),
        ("yes: x", "True: expected a name"),
        ("1.10: x", "1.1: expected a name"),
        ("~: x", "None: expected a name"),
        ("' ': x", " : expected a name"),
        ('a: "x\\0"', r"a: 'x\\x00' contains a null character"),
        ('a: "~\\0"', r"a: '~\\x00' contains a null character"),
        ('a: "~\\ud800/x"', r"a: '~\\ud800/x' contains .* surrogate"),
        ('a: {path: x, chat_template: "~\\0"}', "a: .* null character"),
        ('a: {path: x, baked: "\\udfff"}', "a: .* surrogate"),
        ('"\\ud800": x', "\ud800: .* surrogate"),
    ],
)
def test_bad_key_is_named(read, tmp_path, text, names):
    """The error is one line with the file and the key."""
    with pytest.raises(ConfigError, match=f"^{tmp_path}/models.yaml: {names}") as caught:
        read(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["a: x\na: y", "models: {a: x}\nmodels: {b: y}", "models:\n  a: {path: x, path: y}"],
)
def test_repeated_key_is_refused(read, text):
    """A key that is there twice would silently lose the first."""
    with pytest.raises(ConfigError, match="duplicate key"):
        read(text)


@pytest.mark.parametrize(
    "text",
    [
        "- a\n- b",
        "hello",
        "a: {",
        "a: b: c",
        "\ta: b",
        "a: 2024-99-99",
        "a: !!int x",
        "a: !!timestamp x",
        "a: !!bool x",
        "a: !!float ''",
        "!!int ",
        "a: !!python/object/apply:os.system ['true']",
        "a: *nowhere",
        "? [a]\n: b",
        "a: x\n---\nb: y",
        "a: \x00",
        "a: &a [*a]",
        "a: " + "9" * 5000,
        "[" * 100_000,
        "a: " + "{b: " * 3000,
        "<<: 5",
    ],
)
def test_what_is_no_map_of_models_is_refused(read, tmp_path, text):
    """Invalid, strange and hostile YAML is one line, and runs nothing."""
    with pytest.raises(ConfigError, match=f"^{tmp_path}/models.yaml: ") as caught:
        read(text)
    assert "\n" not in str(caught.value)


def test_aliases_do_not_multiply(read):
    """Nested aliases are shared, not copied: nine levels of nine cost nothing."""
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10))
    with pytest.raises(ConfigError, match="l0: "):
        read(f"l0: &l0 [x]\n{levels}")


def test_file_that_cannot_be_read_is_refused(tmp_path):
    """A folder in its place, or bytes that are no text, are named."""
    with pytest.raises(ConfigError, match=f"^{tmp_path}: "):
        read_models_file(tmp_path)
    (tmp_path / "models.yaml").write_bytes(b"a: \xff")
    with pytest.raises(ConfigError, match=r"models\.yaml: "):
        read_models_file(tmp_path / "models.yaml")
