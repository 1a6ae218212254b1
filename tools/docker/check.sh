#!/bin/sh
# Run the steps of the Dockerfile without Docker, in a clean folder: tools/docker/check.sh [PYTHON]
# Copies what .dockerignore lets through, runs the line that installs, and then, if bubblewrap is there, segments a
# sample, runs a batch and serves the page as a user without rights on a root file system that cannot be written.
set -eu
python=${1:-python3.12}
root=$(cd "$(dirname "$0")/../.." && pwd)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
chmod 755 "$place"
mkdir "$place/source" "$place/data"
sed -n 's/^!//p' "$root/.dockerignore" | while read -r name; do cp -r "$root/$name" "$place/source/"; done
install=$(sed -n '/^RUN python -m venv/,/[^\\]$/p' "$root/tools/docker/Dockerfile" | sed 's/^RUN //; s/\\$//' |
    tr '\n' ' ' | sed "s#/opt/segspectral#$place/venv#g; s#/source#$place/source#g; s#^python#$python#")
echo "$install"
sh -euc "$install"
cp "$root/sample_images/cat.jpg" "$place/data/"
command -v bwrap >/dev/null || { echo "without bubblewrap, only installing was tried"; exit 0; }
chmod 777 "$place/data"
contained() {
    bwrap --ro-bind / / --tmpfs /tmp --ro-bind "$place/venv" "$place/venv" --bind "$place/data" "$place/data" \
        --proc /proc --dev /dev --unshare-user --uid 1000 --gid 1000 --unshare-pid --die-with-parent \
        --setenv HOME /tmp --setenv PATH "$place/venv/bin:$PATH" --chdir "$place/data" "$@"
}
contained segspectral segment cat.jpg -o out -k 4
contained segspectral batch . -o many --preset fast
contained sh -euc 'segspectral serve --port 0 >/tmp/address & sleep 8
    python -c "import urllib.request as u; print(len(u.urlopen(open(\"/tmp/address\").read().split()[0]).read()), \"bytes of the page\")"
    kill $!'
ls "$place/data/out" "$place/data/many"
