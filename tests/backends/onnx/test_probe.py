"""What a folder's small files say, and what becomes of files that lie. Folders are made by hand."""

import copy
import json
import os

import pytest

from pilotlight_backend import ModelFileInvalid
from pilotlight_backend.testing.conformance.listener import within
from pilotlight_onnx.backend import OnnxBackend
from pilotlight_onnx.probe import probe, read_config, weights

INPUTS = {
    "input_ids": "input_ids",
    "attention_mask": "attention_mask",
    "past_key_names": "past_key_values.%d.key",
    "past_value_names": "past_key_values.%d.value",
}
GENAI = {
    "model": {
        "type": "qwen3",
        "context_length": 2048,
        "vocab_size": 500,
        "eos_token_id": 2,
        "decoder": {
            "filename": "model.onnx",
            "num_hidden_layers": 3,
            "num_key_value_heads": 2,
            "head_size": 16,
            "inputs": INPUTS,
        },
    },
    "search": {"max_length": 2048},
}
GRAPH = b"\x08\x0a\x3a\x04\x01\x02\x03\x04"
"""An ONNX file as far as its fields go: a number, and a graph of four bytes."""
LONG = "x" * 200
DEEP = "[" * 100_000


def genai(**model):
    """Return a genai_config.json's content; *model* changes fields, and with None removes them."""
    config = copy.deepcopy(GENAI)
    config["model"] |= model
    config["model"] = {key: value for key, value in config["model"].items() if value is not None}
    return config


def decoder(**fields):
    """Return a genai_config.json's content with other fields in `model.decoder`."""
    return genai(decoder=GENAI["model"]["decoder"] | fields)


@pytest.fixture
def folder(tmp_path):
    """Return a function that writes a folder of a model, with *files* beside it or instead."""
    path = tmp_path / "tiny-model"

    def write(config=GENAI, tokenizer=None, **files):
        path.mkdir(exist_ok=True)
        contents = {
            "genai_config.json": config,
            "tokenizer_config.json": tokenizer,
            "tokenizer.json": b"{}",
            "model.onnx": GRAPH,
        } | {name.replace("__", "."): content for name, content in files.items()}
        for name, content in contents.items():
            if content is not None:
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                (path / name).write_bytes(data)
        return path

    return write


def test_good_folder(folder):
    """Names, context, template, special tokens, and the sizes that a load takes."""
    path = folder(
        tokenizer={
            "chat_template": "{{ messages }}",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "add_bos_token": True,
            "model_max_length": 10**30,
        },
    )
    facts = probe(path)
    assert facts.path == path
    assert (facts.architecture, facts.name) == ("qwen3", "tiny-model")
    assert facts.context_length == 2048
    assert facts.chat_template == "{{ messages }}"
    assert (facts.bos_token, facts.eos_token, facts.add_bos) == ("<s>", "</s>", True)
    assert facts.size_bytes == len(GRAPH)
    assert facts.kv_bytes_per_token == 3 * 2 * 2 * 16 * 4


def test_bare_folder(folder):
    """Without a tokenizer_config.json and sizes the facts are empty, not wrong."""
    facts = probe(folder(genai(decoder={"filename": "model.onnx"})))
    assert (facts.chat_template, facts.bos_token, facts.eos_token) == (None, "", "")
    assert (facts.add_bos, facts.kv_bytes_per_token) == (False, 0)


def test_embedded_model():
    """The folder that ships with the plugin is whole, for chat, and can be cut back."""
    path = OnnxBackend().embedded()
    facts = probe(path)
    assert (facts.architecture, facts.name) == ("qwen3", "spark")
    assert facts.chat_template
    assert [facts.eos_token, facts.add_bos] == ["<|im_end|>", False]
    assert facts.kv_bytes_per_token > 0
    assert facts.size_bytes == sum(file.stat().st_size for file in path.glob("model.onnx*"))
    assert read_config(path).can_rewind


def test_architecture_is_in_lower_case(folder):
    """Families are compared in lower case, however the configuration spells them."""
    assert probe(folder(genai(type="Phi3V"))).architecture == "phi3v"


@pytest.mark.parametrize(
    ("tokenizer", "template"),
    [
        ({}, None),
        ({"chat_template": None}, None),
        ({"chat_template": ""}, ""),
        ({"chat_template": "one"}, "one"),
        ({"chat_template": []}, None),
        ({"chat_template": [{"name": "tool_use", "template": "two"}]}, None),
        (
            {
                "chat_template": [
                    {"name": "tool_use", "template": "two"},
                    {"name": "default", "template": "three"},
                ]
            },
            "three",
        ),
    ],
)
def test_chat_template_of_the_tokenizer(folder, tokenizer, template):
    """A template is a text, or the one named default of a list; a model may have none."""
    assert probe(folder(tokenizer=tokenizer)).chat_template == template


def test_chat_template_in_a_file_of_its_own(folder):
    """`chat_template.jinja` wins over the tokenizer's, and may hold any characters."""
    path = folder(
        tokenizer={"chat_template": "old"}, chat_template__jinja="{{ 'ü 日本' }}\n".encode()
    )
    assert probe(path).chat_template == "{{ 'ü 日本' }}\n"


@pytest.mark.parametrize("key", ["bos_token", "eos_token"])
@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("<s>", "<s>"),
        ({"content": "<s>", "lstrip": False, "special": True}, "<s>"),
        (None, ""),
        ("", ""),
        ("</s> ü", "</s> ü"),
    ],
)
def test_special_tokens(folder, key, value, name):
    """A special token is a text, an object with its content, or missing."""
    assert getattr(probe(folder(tokenizer={key: value})), key) == name


@pytest.mark.parametrize(("value", "expected"), [(True, True), (False, False), (None, False)])
def test_add_bos(folder, value, expected):
    """Where the tokenizer does not say, plain prompts start without a token of their own."""
    assert probe(folder(tokenizer={"add_bos_token": value})).add_bos is expected


@pytest.mark.parametrize(
    ("value", "ids"), [(2, {2}), ([2, 0, 7], {0, 2, 7}), ([], set()), (None, set()), (0, {0})]
)
def test_tokens_that_end_a_generation(folder, value, ids):
    """One id, several, or none."""
    assert read_config(folder(genai(eos_token_id=value))).end_tokens == ids


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"inputs": INPUTS | {"position_ids": "position_ids"}}, True),
        ({"sliding_window": None}, True),
        ({"sliding_window": {"window_size": 1024, "alignment": "left"}}, False),
        ({"sliding_window": 1024}, False),
        ({"inputs": INPUTS | {"past_conv_names": "past_conv.%d"}}, False),
        ({"inputs": INPUTS | {"past_recurrent_names": "past_recurrent.%d"}}, False),
        ({"inputs": INPUTS | {"rnn_states_prev": "states"}}, False),
        ({"inputs": INPUTS | {"what_comes_next_year": "x"}}, False),
        ({"inputs": {}}, False),
    ],
)
def test_only_a_plain_cache_can_rewind(folder, fields, expected):
    """Windows, recurrent states, unknown inputs and untold ones: nothing is cut back there."""
    assert read_config(folder(decoder(**fields))).can_rewind is expected


def test_weights_beside_the_graph(folder):
    """External data is read and counted with the graph; other files and folders are not."""
    path = folder(
        model__onnx__data=bytes(100),
        model__onnx_data=bytes(10),
        other__onnx=bytes(1000),
        embeddings__onnx__data=bytes(1000),
    )
    (path / "model.onnx.parts").mkdir()
    names = [file.name for file in weights(path, read_config(path))]
    assert names == ["model.onnx", "model.onnx.data", "model.onnx_data"]
    assert probe(path).size_bytes == len(GRAPH) + 110


def test_graph_of_another_name(folder):
    """The graph is the file that the configuration names."""
    path = folder(
        decoder(filename="decoder int4.onnx"),
        model__onnx=None,
        **{"decoder int4.onnx": GRAPH, "decoder int4.onnx.data": bytes(7)},
    )
    assert probe(path).size_bytes == len(GRAPH) + 7
    assert weights(path, read_config(path))[0].name == "decoder int4.onnx"


def test_other_folders_and_files_are_no_models(tmp_path):
    """A folder without genai_config.json is not this backend's."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.onnx").write_bytes(GRAPH)
    assert probe(tmp_path) is None
    assert probe(tmp_path / "model.onnx") is None
    assert probe(tmp_path / "missing") is None


def test_folder_of_the_configuration_s_name(tmp_path):
    """A genai_config.json that is a folder is none."""
    (tmp_path / "genai_config.json").mkdir()
    assert probe(tmp_path) is None


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"model"',
        b"\xff\xfe{}",
        b'{"model": "\xff"}',
        b"\0" * 100,
        DEEP.encode(),
        b'{"model": {"decoder": {"sliding_window": ' + DEEP.encode(),
        b'{"search": ' + b'{"a": ' * 100_000,
        json.dumps(GENAI).encode()[:-1],
        json.dumps(GENAI).encode() + b"}",
        {},
        {"model": None},
        {"model": []},
        {"model": {}},
        genai(type=None),
        genai(type=3),
        genai(context_length=None),
        genai(context_length="2048"),
        genai(context_length=True),
        genai(context_length=0.5),
        genai(context_length=[2048]),
        genai(vocab_size=None),
        genai(vocab_size={}),
        genai(eos_token_id=2.5),
        genai(eos_token_id=[2, "</s>"]),
        genai(eos_token_id={"id": 2}),
        genai(decoder=[]),
        genai(decoder="model.onnx"),
        decoder(filename=None),
        decoder(filename=["model.onnx"]),
        decoder(num_hidden_layers="three"),
        decoder(num_key_value_heads=[2, 2, 2]),
        decoder(head_size=None),
        decoder(inputs=["input_ids"]),
    ],
)
def test_damaged_configuration_is_refused(folder, config):
    """What cannot be read, or is of other types, is refused by the file's name."""
    with pytest.raises(ModelFileInvalid, match=r"^genai_config\.json: it cannot be read: .") as (
        caught
    ):
        probe(folder(config))
    assert caught.value.path.name == "genai_config.json"


@pytest.mark.parametrize("size", [0, -1, -(2**63)])
@pytest.mark.parametrize("field", ["context_length", "vocab_size"])
def test_sizes_of_nothing_are_refused(folder, field, size):
    """A model without a context or a vocabulary generates nothing."""
    with pytest.raises(ModelFileInvalid, match=r"genai_config\.json.*above 0"):
        probe(folder(genai(**{field: size})))


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "/etc/passwd",
        "../tiny-model/model.onnx",
        "./model.onnx",
        "sub/model.onnx",
        "model.onnx/",
        "model.onnx/.",
        "/",
    ],
)
def test_graph_outside_the_folder_is_refused(folder, name):
    """A configuration cannot make the probe look at files of other folders."""
    path = folder(decoder(filename=name))
    (path / "sub").mkdir()
    (path / "sub" / "model.onnx").write_bytes(GRAPH)
    with pytest.raises(ModelFileInvalid):
        probe(path)


def test_configuration_without_a_decoder_is_refused(folder):
    """A folder of another kind of model, which does not generate, names no graph."""
    with pytest.raises(ModelFileInvalid, match=r"genai_config\.json.*name of a file"):
        probe(folder(genai(decoder=None)))


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
@pytest.mark.parametrize("instead", ["nothing", "folder", "dangling link"])
def test_missing_file_is_named(folder, name, instead):
    """A file that the download did not bring is named."""
    path = folder(**{name: None})
    if instead == "folder":
        (path / name).mkdir()
    elif instead == "dangling link":
        (path / name).symlink_to(path / "gone")
    with pytest.raises(ModelFileInvalid, match="is missing") as caught:
        probe(path)
    assert str(caught.value).startswith(name)


@pytest.mark.parametrize("name", ["a\0b.onnx", "model.onnx\n", "ü.onnx", " model.onnx", "*.onnx"])
def test_strange_names_are_missing(folder, name):
    """A name that no file can have, and names that no file has."""
    with pytest.raises(ModelFileInvalid, match="is missing"):
        probe(folder(decoder(filename=name)))


@pytest.mark.parametrize("length", [0, 1, 3, 4, 5, 6, 7])
def test_graph_that_is_cut_off_is_named(folder, length):
    """Wherever a download stops inside of a field, the graph is refused, not its folder."""
    with pytest.raises(ModelFileInvalid, match=r"^model\.onnx: the file is incomplete"):
        probe(folder(model__onnx=GRAPH[:length]))


def test_graph_that_is_none(folder):
    """A page that says "not found" in place of the graph is refused."""
    with pytest.raises(ModelFileInvalid, match=r"^model\.onnx: it is not an ONNX file"):
        probe(folder(model__onnx=b"<!DOCTYPE html><html><body>Not found</body></html>"))


@pytest.mark.parametrize(
    "tokenizer",
    [
        b"",
        b"{",
        b"\xff",
        b'{"bos_token": "\xff"}',
        DEEP.encode(),
        b'{"added_tokens_decoder": ' + b'{"0": ' * 100_000,
        [],
        {"chat_template": 3},
        {"chat_template": {"default": "x"}},
        {"chat_template": ["x"]},
        {"chat_template": [{"name": "default"}]},
        {"chat_template": [{"template": "x"}]},
        {"bos_token": 1},
        {"bos_token": ["<s>"]},
        {"bos_token": {}},
        {"eos_token": {"content": None}},
        {"eos_token": True},
        {"add_bos_token": "yes"},
        {"add_bos_token": 1},
    ],
)
def test_damaged_tokenizer_configuration_is_refused(folder, tokenizer):
    """What cannot be read, or is of other types, is refused by the file's name."""
    with pytest.raises(ModelFileInvalid, match=r"^tokenizer_config\.json: it cannot be read: ."):
        probe(folder(tokenizer=tokenizer))


def test_chat_template_that_is_no_text(folder):
    """A template that is not UTF-8 is refused by its name, and so is a folder in its place."""
    with pytest.raises(ModelFileInvalid, match=r"^chat_template\.jinja: it cannot be read"):
        probe(folder(chat_template__jinja=b"\xff\xfe"))
    path = folder(chat_template__jinja=None)
    (path / "chat_template.jinja").unlink()
    (path / "chat_template.jinja").mkdir()
    with pytest.raises(ModelFileInvalid, match=r"^chat_template\.jinja: it cannot be read"):
        probe(path)


def test_every_prefix_of_the_configuration_is_refused(folder):
    """Wherever its writing stops, the configuration is damaged, and never a crash."""
    whole = json.dumps(GENAI).encode()
    assert probe(folder(whole)) is not None
    for length in range(len(whole)):
        with pytest.raises(ModelFileInvalid, match=r"genai_config\.json"):
            probe(folder(whole[:length]))


def test_graph_of_a_name_too_long(folder):
    """A name that no file can have is refused."""
    with pytest.raises(ModelFileInvalid):
        probe(folder(decoder(filename="x" * 300)))


@pytest.mark.parametrize("field", ["num_hidden_layers", "num_key_value_heads", "head_size"])
def test_sizes_below_zero_are_refused(folder, field):
    """A cache of less than nothing is no cache."""
    with pytest.raises(ModelFileInvalid, match=r"genai_config\.json"):
        probe(folder(decoder(**{field: -1})))


# ── files that mean harm ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "fields",
    [
        {"vision": {"filename": "../../other/vision.onnx"}},
        {"speech": {"config_filename": "/etc/passwd"}},
        {"decoder": {"filename": "model.onnx", "pipeline": [{"a": {"filename": "/x.onnx"}}]}},
        {"embedding": {"filename": "sub/../../x.onnx"}},
    ],
    ids=["vision", "speech", "pipeline", "embedding"],
)
def test_name_outside_the_folder_is_refused_wherever_it_is(folder, fields):
    """The library opens every file that any part of the configuration names."""
    with pytest.raises(ModelFileInvalid, match=r"filename names a file outside of the folder"):
        probe(folder(genai(**fields)))


@pytest.mark.parametrize(
    "options",
    [
        {"custom_ops_library": "ops.so"},
        {"custom_ops_library": "/models/ops.so"},
        {"provider_options": [{"qnn": {"backend_path": "/models/m/libevil.so.1"}}]},
        {"provider_options": [{"qnn": {"backend_path": "./libevil.so"}}]},
    ],
)
def test_native_code_of_a_model_is_not_run(folder, options):
    """A model is data, wherever in its folder or on the machine the library is."""
    with pytest.raises(ModelFileInvalid, match="names native code, which is not run"):
        probe(folder(decoder(session_options=options)))


def test_library_of_the_system_may_be_named(folder):
    """By its bare name: what that leads to is the operator's."""
    options = {"provider_options": [{"qnn": {"backend_path": "libQnnHtp.so"}}]}
    assert probe(folder(decoder(session_options=options))) is not None


def test_folder_inside_may_be_named(folder):
    """Other graphs of a model may lie in folders of it."""
    assert probe(folder(genai(vision={"filename": "vision/model.onnx"}))) is not None


def test_deep_configuration_is_refused(folder):
    """Nesting ends the reading, and not the process."""
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    with pytest.raises(ModelFileInvalid, match="it cannot be read"):
        probe(folder(deep))


@pytest.mark.parametrize("name", ["genai_config.json", "tokenizer_config.json", "tokenizer.json"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_file_is_not_read(folder, name, kind):
    """The probe neither waits for a pipe nor reads a device to its end."""
    path = folder(GENAI, {})
    (path / name).unlink()
    if kind == "pipe":
        os.mkfifo(path / name)
    else:
        (path / name).symlink_to("/dev/zero")

    def look():
        try:
            return probe(path)
        except ModelFileInvalid as error:
            return error

    found = within(look, 10)
    assert found is None or isinstance(found, ModelFileInvalid) or name == "tokenizer_config.json"


def test_template_that_is_a_pipe_is_not_waited_for(folder):
    path = folder()
    os.mkfifo(path / "chat_template.jinja")
    with pytest.raises(ModelFileInvalid, match="not a regular file"):
        within(lambda: probe(path), 10)


def test_configuration_beyond_any_size_is_not_read(folder):
    """A file that says nothing for gigabytes takes no memory: it is refused by its length."""
    path = folder()
    with (path / "genai_config.json").open("r+b") as file:
        file.truncate(10 << 30)
    with pytest.raises(ModelFileInvalid, match="larger than"):
        within(lambda: probe(path), 30)
