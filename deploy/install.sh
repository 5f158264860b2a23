#!/bin/sh
# Put what a hub needs into a folder that everybody may read, and start the course of a teacher in it:
#
#   sudo PYTHON=/usr/bin/python3 deploy/install.sh /srv/roadseg TEACHER
#
#   python      environment of hub, servers and kernels: JupyterHub, nbgrader, and the package as students get it
#   workbook    the student archive, unpacked: no worked notebooks, reference answers or rubrics
#   proxy       configurable-http-proxy, from npm
#   data, cache, runs    scenes, resized images, and finished runs that the teacher shares: read-only
#   exchange    nbgrader's
#   teacher     the whole project and the course, which nobody but the teacher can read
#
# Run it again after an update of the project: the course, and what the exchange holds, stay.
set -eu
umask 022
project=$(cd "$(dirname "$0")/.." && pwd)
hub=$1
teacher=$2
as_teacher=
[ "$(id -u)" -ne 0 ] || as_teacher="runuser -u $teacher -- env HOME=$hub/teacher"
mkdir -p "$hub/data" "$hub/cache" "$hub/runs" "$hub/teacher" "$hub/exchange"
chmod 1777 "$hub/exchange"

echo "1 of 5: the student archive"
PYTHONPATH="$project" "${PYTHON:-python3}" -c "from pathlib import Path; from roadseg.course import archive
archive.write_archive(Path('$hub/student.zip'), Path('$project'))"
rm -rf "$hub/workbook"
"${PYTHON:-python3}" -m zipfile -e "$hub/student.zip" "$hub"
mv "$hub/road_segmentation" "$hub/workbook"

echo "2 of 5: the environment, about 3 GB"
[ -x "$hub/python/bin/python" ] || "${PYTHON:-python3}" -m venv "$hub/python"
$as_teacher "$hub/python/bin/python" -c "" || {
    echo "$hub/python is made with a Python that $teacher cannot run: remove it, and set PYTHON to another." >&2
    exit 1
}
cd "$hub/workbook"
"$hub/python/bin/pip" install -q --disable-pip-version-check -r requirements.txt -e ".[hub]"
"$hub/python/bin/python" -m compileall -q roadseg  # students cannot write here
cp "$project/deploy/nbgrader_config.py" "$hub/python/etc/jupyter/"
"$hub/python/bin/jupyter" labextension disable --level=sys_prefix @jupyterlab/apputils-extension:announcements

echo "3 of 5: the proxy"
npm install --silent --prefix "$hub/proxy" configurable-http-proxy@5.3

echo "4 of 5: the images"
export ROADSEG_DATA="${ROADSEG_DATA:-$hub/data/scenes}" ROADSEG_CACHE="$hub/cache" ROADSEG_HOME="$hub/workbook"
[ -d "$ROADSEG_DATA" ] || "$hub/python/bin/python" -m roadseg data --render "$ROADSEG_DATA"
"$hub/python/bin/python" -c "import roadseg; roadseg.data.load()"

echo "5 of 5: the course"
cd "$project"
rm -rf "$hub/teacher/project"
mkdir "$hub/teacher/project"
tar -c --exclude=__pycache__ .github LICENSE Makefile README.md data/README.md notebooks pyproject.toml \
    requirements.txt roadseg | tar -x --no-same-owner -C "$hub/teacher/project"
[ -z "$as_teacher" ] || chown -R "$teacher" "$hub/teacher" "$hub/runs"
chmod 700 "$hub/teacher"
cd "$hub/teacher"
export PYTHONPATH="$hub/teacher/project" PATH="$hub/python/bin:$PATH" ROADSEG_HUB="$hub"
$as_teacher python -m roadseg course setup "$hub/teacher/course"
cd course
# Also those that carry no points. `cp -n` would do, but that of some systems fails at a file that is there.
for notebook in "$hub"/workbook/notebooks/*.ipynb; do
    [ -e "release/road_segmentation/${notebook##*/}" ] || $as_teacher cp "$notebook" release/road_segmentation/
done
$as_teacher nbgrader release_assignment road_segmentation --force
