#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""image_content.py IMAGE.oci.tar SBOM DIGEST: checks what the image contains and must not
contain, and that the SBOM lists the same."""

import hashlib
import io
import json
import re
import sys
import tarfile

MB = 1000 * 1000
EXPRESSION = re.compile(r"[A-Za-z0-9.+-]+")


def main(image, sbom_path, digest):
    failures = []

    def check(is_so, what):
        if not is_so:
            failures.append(what)

    sizes, hashes, executables = [], {}, set()
    with tarfile.open(image) as archive:
        def blob(name):
            content = archive.extractfile("blobs/" + name.replace(":", "/")).read()
            check("sha256:" + hashlib.sha256(content).hexdigest() == name, f"blob {name} is another")
            return content

        [entry] = json.load(archive.extractfile("index.json"))["manifests"]
        check(entry["digest"] == digest, f"the archive has {entry['digest']}, not {digest}")
        manifest = json.loads(blob(entry["digest"]))
        config = json.loads(blob(manifest["config"]["digest"]))
        for layer in manifest["layers"]:
            sizes.append(0)
            with tarfile.open(fileobj=io.BytesIO(blob(layer["digest"]))) as content:
                for member in content:
                    check(member.uid == 0 and member.gid == 0, f"/{member.name} is not root's")
                    check(not member.mode & 0o6000, f"/{member.name} is set-uid or set-gid")
                    check(not member.mode & 0o022 or member.issym() or member.name == "tmp",
                          f"/{member.name} can be written by others")
                    if member.isfile():
                        sizes[-1] += member.size
                        hashes[member.name] = hashlib.sha256(content.extractfile(member).read()).hexdigest()
                        if member.mode & 0o111:
                            executables.add(member.name)

    check(len(sizes) == 2, f"{len(sizes)} layers")
    check(sizes[0] <= 5 * MB, f"the base layer has {sizes[0]} bytes, more than 5 MB")
    check(sum(sizes[1:]) <= 30 * MB, f"beyond its base the image has {sum(sizes[1:])} bytes, more than 30 MB")
    programs = {name for name in executables if "/lib/" not in "/" + name and "/lib64/" not in "/" + name}
    check(programs == {"usr/sbin/nodeport-guard", "usr/sbin/xtables-legacy-multi"},
          f"programs: {sorted(programs)}")

    labels = config["config"]["Labels"]
    for label in ("title", "description", "version", "revision", "created", "licenses"):
        check(labels.get("org.opencontainers.image." + label, "") not in ("", "0", "unknown"), f"no label {label}")
    check(config["config"]["Entrypoint"] == ["/usr/sbin/nodeport-guard"] and config["config"]["Cmd"] == ["run"],
          "entry point")

    with open(sbom_path, encoding="utf-8") as file:
        sbom = json.load(file)
    check(sbom["spdxVersion"] == "SPDX-2.3" and sbom["dataLicense"] == "CC0-1.0", "the version of the SBOM")
    listed = {item["fileName"].removeprefix("./"): item for item in sbom["files"]}
    check(len(listed) == len(sbom["files"]), "the SBOM lists a file twice")
    check(listed.keys() == hashes.keys(),
          f"only in image or SBOM: {sorted(listed.keys() ^ hashes.keys())[:10]}")
    for name in listed.keys() & hashes.keys():
        sha256 = {item["algorithm"]: item["checksumValue"] for item in listed[name]["checksums"]}["SHA256"]
        check(sha256 == hashes[name], f"the SBOM has another checksum of /{name}")

    ids = [item["SPDXID"] for item in sbom["packages"] + sbom["files"]] + [sbom["SPDXID"]]
    check(len(set(ids)) == len(ids), "an SPDXID twice")
    contained = {}
    for relation in sbom["relationships"]:
        check(relation["spdxElementId"] in ids and relation["relatedSpdxElement"] in ids, f"dangling: {relation}")
        if relation["relationshipType"] == "CONTAINS":
            contained.setdefault(relation["relatedSpdxElement"], []).append(relation["spdxElementId"])
    holders = {holder for item in sbom["files"] for holder in contained.get(item["SPDXID"], [])}
    for item in sbom["files"]:
        check(len(contained.get(item["SPDXID"], [])) == 1, f"{item['fileName']} is not of one package")
    references = {item["licenseId"] for item in sbom["hasExtractedLicensingInfos"]}
    for package in sbom["packages"]:
        for field in ("name", "versionInfo", "downloadLocation", "licenseDeclared"):
            check(package.get(field), f"package {package['SPDXID']} has no {field}")
        for word in EXPRESSION.findall(package["licenseDeclared"]):
            check(not word.startswith("LicenseRef-") or word in references, f"{word} is explained nowhere")
        check(package["SPDXID"] == "SPDXRef-image" or package["SPDXID"] in holders,
              f"package {package['name']} has no file in the image")
    names = {package["name"] for package in sbom["packages"]}
    # One of each kind: the product, a shared library, a program that it runs, a static library.
    for name in ("nodeport-guard", "libc6", "iptables", "ca-certificates", "libabsl-dev"):
        check(name in names, f"no package {name} in the SBOM")

    for failure in failures:
        print("FAILED:", failure, file=sys.stderr)
    print(f"{len(hashes)} files of {len(names) - 1} packages, {sizes[0] / MB:.2f} MB in the base layer "
          f"and {sum(sizes[1:]) / MB:.2f} MB beyond it")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main(*sys.argv[1:])
