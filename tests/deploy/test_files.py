"""What administrators take from `deploy`: it parses, and all ways of installing run the same commands."""

import asyncio
import re
import subprocess
from types import SimpleNamespace

import pytest
from handed_in import PROJECT
from traitlets.config import Config

DEPLOY = PROJECT / "deploy"


def plain(text: str) -> str:
    """Shell or Dockerfile with one command a line, without quotes, and with one name for the folder and for Python."""
    text = re.sub(r"\\\n\s*", "", text).replace("${PYTHON:-python3}", "python3").replace("$HUB", "$hub")
    return text.replace('"', "").replace("'", "").replace("$hub", "/srv/roadseg")


def test_the_image_is_made_by_the_commands_of_the_installation():
    script = plain((DEPLOY / "install.sh").read_text())
    runs = re.findall(r"^RUN (.*)$", plain((DEPLOY / "Dockerfile").read_text()), re.MULTILINE)
    commands = {command.strip() for run in runs for command in run.split("&&")}
    shared = {command for command in commands if re.search(r"venv|pip|roadseg data|data\.load", command)}
    assert len(shared) == 4 and {command for command in shared if command not in script} == set()
    proxy = "npm install --prefix /srv/roadseg/proxy configurable-http-proxy@5.3"
    assert proxy in script.replace(" --silent", "") and proxy in (DEPLOY / "README.md").read_text()


@pytest.mark.parametrize("name", ["install.sh", "demonstration.sh"])
def test_scripts_parse(name):
    subprocess.run(["sh", "-n", DEPLOY / name], check=True)


def test_settings_of_servers_parse():
    compile((DEPLOY / "nbgrader_config.py").read_text(), "nbgrader_config.py", "exec")


def test_on_kubernetes_a_pod_has_the_settings_and_sees_its_own_submissions_only():
    yaml = pytest.importorskip("yaml")
    values = yaml.safe_load((DEPLOY / "values.yaml").read_text())
    (claim,) = values["singleuser"]["storage"]["extraVolumes"]
    settings = Config()
    settings.KubeSpawner.environment = {}  # as the chart sets it
    scripts = values["hub"]["extraConfig"] | {"roadseg": (DEPLOY / "jupyterhub_config.py").read_text()}
    for name, code in sorted(scripts.items()):  # the chart's order
        exec(compile(code, name, "exec"), {"c": settings, "get_config": lambda: settings})
    assert settings.KubeSpawner.environment["ROADSEG_HUB"] == "/srv/roadseg"

    home, folders = {"name": "home", "mountPath": "/home"}, {}
    for name, own in ("ada", [home]), ("teacher", {"home": home}):
        pod = SimpleNamespace(user=SimpleNamespace(name=name), volume_mounts=own)
        asyncio.run(settings.KubeSpawner.pre_spawn_hook(pod))
        assert pod.volume_mounts[0] == home and {mount["name"] for mount in pod.volume_mounts[1:]} == {claim["name"]}
        folders[name] = {mount["subPath"]: mount.get("readOnly", False) for mount in pod.volume_mounts[1:]}
    assert folders == {"ada": {"course/outbound": True, "course/inbound/ada": False}, "teacher": {"course": False}}
