"""The `serve` command: exported models behind HTTP, or the manifest by which KServe runs that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keras_htaf.files import replacing
from keras_htaf.serving import Artifact, Options, manifest, serve
from keras_htaf.serving.manifest import text


def serve_files(
    paths: Sequence[Path],
    names: Sequence[str],
    options: Options,
    *,
    out: Path | None = None,
    image: str | None = None,
    storage: str | None = None,
) -> int:
    """Serve artifacts until a signal, or write a manifest that does so on Kubernetes.

    Args:
        paths: Artifacts.
        names: One for each, or none.
        options: Limits.
        out: Write an InferenceService there instead of serving.
        image: Of its container.
        storage: The address of the folder with the artifacts.

    Returns:
        The exit status.

    Raises:
        ValueError: If names and artifacts do not fit, or an option lacks those it belongs to.
    """
    if names and len(names) != len(paths):
        raise ValueError(
            f"Received {len(names)} times --name for {len(paths)} models. Expected one for each, "
            "in their order, or none."
        )
    given: Sequence[str | None] = names or [None] * len(paths)
    artifacts = [Artifact.at(path, name) for path, name in zip(paths, given, strict=True)]
    if out is None:
        if image is not None or storage is not None:
            raise ValueError("--image and --storage are of a manifest: give --manifest FILE too.")
        return serve(artifacts, options, lambda line: print(line, flush=True))
    if image is None or storage is None:
        raise ValueError("A manifest needs --image and --storage, see docs/serving.md.")
    service = manifest(artifacts, image=image, storage=storage, options=options)
    with replacing(out) as temporary:
        temporary.write_text(text(service), encoding="utf-8")
    print(f"wrote {out}; kubectl apply -f {out}")
    return 0
