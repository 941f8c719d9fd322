#!/usr/bin/env bash
# Makes what is handed out, in dist/: for amd64 and arm64 a tarball, a deb and an rpm with both
# programs, an OCI image of lode alone, an SBOM of each program, and the checksums of all. The same
# commit gives the same files. Run by `make dist`, which sets VERSION, GCFLAGS, TOOL and GO.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${VERSION:?set by make dist}" "${GCFLAGS:?set by make dist}" "${GO:=go}" "${TOOL:=go tool -modfile=tools/go.mod}"

SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
# Packages want a number first: a commit without a tag is 0.0.0 and its place.
case "$VERSION" in
v[0-9]*) number=${VERSION#v} ;;
*) number=0.0.0+$VERSION ;;
esac
pack() { # pack FILE FOLDER NAME…: a tarball that depends on nothing but its content
  tar --create --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
    --directory "$2" "${@:3}" | gzip -9n >"$1"
}

rm -rf dist
mkdir -p dist/shared
"$GO" run ./cmd/lode reference --man dist/shared/man
gzip -9n dist/shared/man/*.1
"$GO" run ./cmd/lode completion bash >dist/shared/lode.bash
"$GO" run ./cmd/lode completion zsh >dist/shared/_lode
"$GO" run ./cmd/lode completion fish >dist/shared/lode.fish
for arch in amd64 arm64; do
  name=lode-$number-linux-$arch
  stage=dist/$name
  mkdir -p "$stage"
  echo "building $name"
  for program in lode lode-executor; do
    GOARCH=$arch "$GO" build -trimpath $GCFLAGS -ldflags "$LDFLAGS" -o "$stage/$program" "./cmd/$program"
    $TOOL cyclonedx-gomod bin -json -noserial -version "$VERSION" "$stage/$program" 2>/dev/null |
      grep -v '"timestamp"' >"dist/$name-$program.cdx.json" # it tells the time of this run
  done
  cp LICENSE README.md CHANGELOG.md docs/configuration.yaml deploy/lode.yaml deploy/lode-scheduler.service deploy/lode-proxy.service \
    deploy/lode.sysusers deploy/marathon.json "$stage"
  cp -r dist/shared/. "$stage"
  pack "dist/$name.tar.gz" dist "$name"
  for format in deb rpm; do
    VERSION=$number ARCH=$arch STAGE=$stage $TOOL nfpm package --config deploy/nfpm.yaml --packager "$format" --target dist/
  done
  "$GO" run ./deploy/image -arch "$arch" -version "$VERSION" -out "dist/$name-image.tar" "$stage/lode" "$stage/lode-executor"
  rm -rf "$stage"
done
rm -rf dist/shared
(cd dist && sha256sum -- * >SHA256SUMS)
ls -l dist
