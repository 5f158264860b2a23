"""What administrators take from `deploy`: it parses, and all ways of installing run the same commands."""

import re
import subprocess

import pytest
from handed_in import PROJECT

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


def test_values_and_settings_parse():
    yaml = pytest.importorskip("yaml")
    values = yaml.safe_load((DEPLOY / "values.yaml").read_text())
    claims = {volume["name"] for volume in values["singleuser"]["storage"]["extraVolumes"]}
    (code,) = values["hub"]["extraConfig"].values()
    compile(code, "values.yaml", "exec")
    assert re.findall(r'volume, place = spawner.user.name, "(\w+)"', code) == list(claims)
    for name in ("jupyterhub_config.py", "nbgrader_config.py"):
        compile((DEPLOY / name).read_text(), name, "exec")
