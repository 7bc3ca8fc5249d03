"""Where values come from, what is refused, and in which words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from khala.config.load import Given, Origins, load, strays
from khala.config.setting import ALL
from khala.config.settings import Settings
from khala.config.table import BY_KEY, SETTINGS
from khala.config.values import show
from khala.model.errors import Rejected


def resolve(
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    config: Path | None = None,
    role: str = "up",
) -> tuple[Settings, Origins]:
    given = {key: Given(value=value, flag=BY_KEY[key].flag) for key, value in (flags or {}).items()}
    return load(role, given, environment or {}, str(config) if config else None)


def refusal(
    flags: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    config: Path | None = None,
    role: str = "up",
) -> str:
    with pytest.raises(Rejected) as caught:
        resolve(flags, environment, config, role)
    return caught.value.message


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_flag_before_environment_before_file_before_default(tmp_path: Path) -> None:
    file = write(
        tmp_path / "khala.toml",
        "[rpc]\nport = 4101\n[gateway]\nport = 7101\n[mongodb]\nport = 3101\n",
    )
    environment = {"KHALA_RPC_PORT": "4102", "KHALA_HTTP_PORT": "7102"}
    settings, origins = resolve({"rpc.port": "4103"}, environment, file)
    assert (settings.rpc.port, origins["rpc.port"].source) == (4103, "--rpc-port")
    assert (settings.gateway.port, origins["gateway.port"].source) == (7102, "KHALA_HTTP_PORT")
    assert settings.mongodb.port == 3101
    assert origins["mongodb.port"].source == f"{file}: mongodb.port"
    assert (settings.etcd.peer_port, origins["etcd.peer_port"].source) == (2000, "default")


def test_images_may_be_a_table(tmp_path: Path) -> None:
    file = write(
        tmp_path / "khala.toml",
        '[executor.images]\n"gcc-13.2" = "/srv/a,b"\ndebian = "/srv/debian"\n',
    )
    settings, _ = resolve(config=file)
    assert settings.executor.images == ("gcc-13.2=/srv/a,b", "debian=/srv/debian")
    settings, _ = resolve(environment={"KHALA_IMAGE": r"a=/x\,y,b=/z"}, config=file)
    assert settings.executor.images == ("a=/x,y", "b=/z")


def test_an_empty_variable_counts_as_unset() -> None:
    settings, origins = resolve(environment={"KHALA_RPC_PORT": ""})
    assert (settings.rpc.port, origins["rpc.port"].source) == (4000, "default")


def test_a_directory_is_read_in_name_order_and_the_last_wins(tmp_path: Path) -> None:
    write(tmp_path / "20.toml", "name = 'late'")
    write(tmp_path / "10.toml", "name = 'early'\n[executor]\nslots = 3")
    write(tmp_path / "30.txt", "no TOML")
    settings, _ = resolve(environment={"KHALA_CONFIG": str(tmp_path)})
    assert (settings.name, settings.executor.slots) == ("late", 3)


def test_every_row_of_the_table_has_a_field_of_its_type_and_only_those() -> None:
    settings, _ = resolve()
    tree = msgspec.to_builtins(settings)
    found = {
        f"{key}.{name}" if isinstance(value, dict) else key
        for key, value in tree.items()
        for name in (value if isinstance(value, dict) else [""])
    }
    assert found == set(BY_KEY)


def test_flags_variables_and_keys_are_unique() -> None:
    assert len({each.flag for each in SETTINGS}) == len({each.env for each in SETTINGS})
    assert len({each.flag for each in SETTINGS}) == len(BY_KEY) == len(SETTINGS)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_every_setting_can_be_set_by_flag_by_variable_and_by_file(
    setting: object, tmp_path: Path
) -> None:
    assert isinstance(setting, type(SETTINGS[0]))
    value = {
        "bind": "127.0.0.9",
        "join": "h:1,i:2",
        "quota.users": "7:running=1,8:queued=2",
        "gateway.bind": "127.0.0.8",
        "gateway.legacy_api": "off",
        "executor.uid_base": "70000",
        "executor.allow_network": "loopback",
        "log.level": "error",
        "log.format": "json",
    }.get(setting.key)
    if value is None:
        value = {"path": "/tmp/x", "text": "x1", "list": "a,b", "yes or no": "yes"}.get(
            setting.kind, "1234567"
        )
        if setting.maximum is not None:
            value = show(setting.kind, int(setting.maximum) - 1)
    *section, name = setting.key.split(".")
    head = f"[{section[0]}]\n" if section else ""
    file = write(tmp_path / "khala.toml", f"{head}{name} = {value!r}\n")
    ways = [
        resolve({setting.key: value}),
        resolve(environment={setting.env: value}),
        resolve(config=file),
    ]
    shown = {show(setting.kind, origins[setting.key].value) for _, origins in ways}
    assert shown == {value}
    assert [origins[setting.key].source for _, origins in ways] == [
        setting.flag,
        setting.env,
        f"{file}: {setting.key}",
    ]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_limits_are_refused_on_both_sides_with_limit_and_value(setting: object) -> None:
    assert isinstance(setting, type(SETTINGS[0]))
    beyond: list[str] = []
    if setting.maximum is not None:
        beyond.append(f"{setting.maximum + 1:.0f}")
    if setting.minimum:
        beyond.append(f"{setting.minimum * 0.5:.0f}")
    for text in beyond:
        message = refusal({setting.key: text})
        assert message.startswith(f"{setting.flag}: from ")
        assert message.endswith(f"; {text} was given")


def test_the_words_of_a_refused_value(tmp_path: Path) -> None:
    file = write(tmp_path / "khala.toml", "[rpc]\nport = 70000")
    limits = "from 1 to 65535; 70000 was given"
    assert refusal({"rpc.port": "70000"}) == f"--rpc-port: {limits}"
    assert refusal(environment={"KHALA_RPC_PORT": "70000"}) == f"KHALA_RPC_PORT: {limits}"
    assert refusal(config=file) == f"{file}: rpc.port: {limits}"
    assert refusal({"limits.cpus": "0"}) == "--cpus: from 0.01 to 1024; 0 was given"
    assert refusal({"executor.slots": "many"}) == "--slots: 'many' is not a whole number"
    assert refusal({"log.level": "loud"}).startswith("--log-level: one of debug, info")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[rpc]\nprot = 1", ["'rpc.prot'", "did you mean rpc.port?"]),
        ("slots = 4", ["'slots'", "did you mean executor.slots?"]),
        ("[join]\na = 1", ["'join.a'", "did you mean join?"]),
        ("zzzzzzzzzz = 1", ["there is no setting 'zzzzzzzzzz'"]),
        ("name = [1]", ["name", "[1] is not a text"]),
        ("name = 1979-05-27", ["is not a text"]),
        ("[executor]\nslots = true", ["executor.slots", "True is not an integer"]),
        ("name =", ["not a TOML file"]),
    ],
)
def test_a_bad_file_is_named_with_what_is_wrong(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    file = write(tmp_path / "khala.toml", text)
    message = refusal(config=file)
    for word in (str(file), *words):
        assert word in message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refusal(config=tmp_path / "none.toml")
    assert "without *.toml files" in refusal(config=tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'")
    assert "not a TOML file" in refusal(config=tmp_path)
    missing = str(tmp_path / "none.toml")
    assert refusal(environment={"KHALA_CONFIG": missing}).startswith("KHALA_CONFIG: ")


@pytest.mark.parametrize("bind", ["::", "::1", "example.org", "10.0.0"])
def test_etcd_listens_on_ipv4_addresses(bind: str) -> None:
    assert refusal({"bind": bind}).startswith(f"--bind: an IPv4 address; {bind!r} is not")
    assert refusal(environment={"KHALA_BIND": bind}).startswith("KHALA_BIND: ")


def test_a_judicator_that_listens_everywhere_says_where_it_is_reached() -> None:
    assert "--advertise" in refusal({"bind": "0.0.0.0"})
    settings, _ = resolve({"bind": "0.0.0.0", "advertise": "a.example"})
    assert (settings.advertised, settings.local) == ("a.example", "127.0.0.1")


@pytest.mark.parametrize(
    ("advertise", "bind"), [("10.0.0.1", "0.0.0.0"), ("a", "0.0.0.0"), ("localhost", "127.0.0.1")]
)
def test_who_is_reached_from_elsewhere_listens_there(advertise: str, bind: str) -> None:
    assert resolve({"advertise": advertise})[0].bind == bind
    assert resolve({"advertise": advertise, "bind": "127.0.0.3"})[0].bind == "127.0.0.3"


@pytest.mark.parametrize("advertise", ["a:4000", "http://a", "-a", "0.0.0.0"])
def test_what_others_cannot_use_as_an_address_is_refused(advertise: str) -> None:
    assert "--bind: 0.0.0.0" in (message := refusal({"advertise": advertise})) or (
        message.startswith("--advertise: a host name or an IPv4 address")
    )


@pytest.mark.parametrize("bind", ["0.0.0.0", "10.0.0.7", "::", "example.org"])
def test_http_beyond_loopback_needs_a_token_file(bind: str) -> None:
    message = refusal({"gateway.bind": bind})
    assert message.startswith(f"--http-bind: {bind} can be reached from other hosts")
    assert "--token-file" in message
    settings, _ = resolve({"gateway.bind": bind, "gateway.token_file": "/t"})
    assert settings.gateway.bind == bind


def test_http_beyond_loopback_may_let_only_users_in() -> None:
    beyond = {"gateway.bind": "0.0.0.0"}
    assert "--users-only" in refusal(beyond)
    settings, _ = resolve({**beyond, "gateway.users_only": True})
    assert settings.gateway.users_only
    assert resolve({"executor.allow_network": "full", "gateway.users_only": True})


def test_kv2s_addresses_are_open_to_this_host_alone() -> None:
    opened = {"gateway.legacy_api": "open"}
    assert resolve(opened)[0].gateway.legacy_api == "open"
    for keyed in ({"gateway.token_file": "/t"}, {"gateway.users_only": True}):
        message = refusal({**opened, **keyed, "gateway.bind": "10.0.0.7"})
        assert message.startswith("--legacy-api: open lets in whoever reaches 10.0.0.7")
        assert resolve({**opened, **keyed})
        message = refusal({**opened, **keyed, "executor.allow_network": "full"})
        assert "no --legacy-api open" in message
    assert "one of auto, open, off" in refusal({"gateway.legacy_api": "on"})


def test_tasks_with_the_hosts_network_need_a_gateway_with_a_token() -> None:
    allowed = {"executor.allow_network": "full"}
    message = refusal(allowed)
    assert message.startswith("--allow-network: tasks with this host's network")
    assert "--token-file" in message
    settings, _ = resolve({**allowed, "gateway.token_file": "/t"})
    assert settings.executor.allow_network == "full"
    assert resolve(allowed, role="executor")[0].executor.allow_network == "full"
    assert "one of loopback, full" in refusal({"executor.allow_network": "none"})


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_http_on_loopback_needs_none(bind: str) -> None:
    assert resolve({"gateway.bind": bind})[0].gateway.bind == bind


def test_defaults_follow_other_settings() -> None:
    settings, _ = resolve({"data_dir": "/d", "bind": "localhost", "rpc.port": "4100"})
    assert settings.secret_file == "/d/secret"
    assert settings.bind == "127.0.0.1"
    assert settings.join == ()
    assert settings.judicators == ("127.0.0.1:4100",)
    assert resolve({"executor.slots": "auto"})[0].executor.slots >= 1


@pytest.mark.parametrize(
    ("given", "join"),
    [
        ("a", ("a:4000",)),
        ("a:5000,b", ("a:5000", "b:4000")),
        ("[::1]", ("[::1]:4000",)),
        ("[::1]:5000", ("[::1]:5000",)),
    ],
)
def test_join_takes_hosts_with_and_without_a_port(given: str, join: tuple[str, ...]) -> None:
    assert resolve({"join": given})[0].join == join


@pytest.mark.parametrize(
    "given", ["a:", ":1", "a:0", "a:65536", "a:b", "::1", "http://a:1", "a:1:2"]
)
def test_join_refuses_what_is_no_address(given: str) -> None:
    assert refusal({"join": given}).startswith("--join: host:port")


@pytest.mark.parametrize("key", ["name", "mongodb.replica_set"])
@pytest.mark.parametrize("given", ["a b", "-a", "x" * 64, "a/b"])
def test_names_are_fit_for_paths_and_arguments(key: str, given: str) -> None:
    assert refusal({key: given}).startswith(f"{BY_KEY[key].flag}: a name has 1 to 63")


def test_one_port_is_not_given_twice() -> None:
    assert (
        refusal({"gateway.port": "3000"}) == "--http-port: port 3000 is given to --mongodb-port too"
    )
    assert "KHALA_RPC_PORT" in refusal({"mongodb.port": "99"}, {"KHALA_RPC_PORT": "99"})


def test_a_role_minds_its_own_ports_only() -> None:
    flags = {"gateway.port": "3000"}
    assert resolve(flags, role="gateway")[0].gateway.port == 3000
    assert resolve(flags, role="executor")[0].gateway.port == 3000
    assert "--rpc-port" in refusal({"rpc.port": "3000"}, role="judicator")


def test_stray_variables_are_told_with_the_nearest_name() -> None:
    environment = {"KHALA_SLOT": "4", "KHALA_SLOTS": "4", "KHALA_DEBUG": "1", "PATH": "/"}
    assert strays(environment) == ["KHALA_SLOT is not a setting; did you mean KHALA_SLOTS?"]


def test_roles_are_known() -> None:
    assert all(set(each.roles) <= set(ALL) and each.roles for each in SETTINGS)


def test_a_default_raises_its_maximum_and_never_exceeds_one_that_was_given() -> None:
    settings, _ = resolve({"limits.execute_memory": "16GiB"})
    assert settings.limits.memory_max == 16 << 30
    settings, _ = resolve({"limits.execute_memory": "2GiB"})
    assert settings.limits.memory_max == 4 << 30
    settings, _ = resolve({"limits.memory_max": "1GiB"})
    assert settings.limits.memory_max == 1 << 30
    message = refusal({"limits.memory_max": "600MiB"})
    assert message == (
        "--memory-max: 600MiB is less than what stages get that ask for nothing; raise it, or"
        " lower --compile-memory (1GiB)"
    )
    assert refusal({"limits.cpus": "3", "limits.cpus_max": "2"}).startswith("--cpus-max: 2 is less")
