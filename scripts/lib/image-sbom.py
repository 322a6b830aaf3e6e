#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""image-sbom.py IMAGE.oci.tar: prints the SBOM of the image, as SPDX 2.3 in JSON.

Every file belongs to one package: to the Debian package that /var/lib/dpkg/status.d of the
image names for it, or to nodeport-guard.
"""

import datetime
import hashlib
import io
import json
import os
import re
import sys
import tarfile

STATUS = "var/lib/dpkg/status.d/"
OWN = "nodeport-guard"
OWN_LICENCE = "Apache-2.0 AND (GPL-2.0-only OR BSD-2-Clause)"

# Short names in the copyright files of Debian, and their names in SPDX.
LICENCES = {
    "apache-2.0": "Apache-2.0",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "bsd-4-clause": "BSD-4-Clause",
    "bsl-1.0": "BSL-1.0",
    "curl": "curl",
    "expat": "MIT",
    "isc": "ISC",
    "mit": "MIT",
    "mpl-2.0": "MPL-2.0",
    "openldap-2.8": "OLDAP-2.8",
    "x11": "X11",
    "zlib": "Zlib",
} | {
    short + version + ("+" if later else ""):
        f"{spdx}-{version}{'' if '.' in version else '.0'}-{'or-later' if later else 'only'}"
    for short, spdx, versions in (("artistic-", "Artistic", ()), ("gpl-", "GPL", ("1", "2", "2.0", "3", "3.0")),
                                  ("lgpl-", "LGPL", ("2", "2.0", "2.1", "3", "3.0")),
                                  ("gfdl-", "GFDL", ("1.2", "1.3")), ("agpl-", "AGPL", ("3",)))
    for version in versions for later in (False, True)
}


def read_image(path):
    """Manifest digest, creation time, and the files of all layers: path -> bytes (None: no file)."""
    with tarfile.open(path) as archive:
        def blob(digest):
            algorithm, value = digest.split(":")
            return archive.extractfile(f"blobs/{algorithm}/{value}").read()

        index = json.load(archive.extractfile("index.json"))
        digest = index["manifests"][0]["digest"]
        manifest = json.loads(blob(digest))
        config = json.loads(blob(manifest["config"]["digest"]))
        files = {}
        for layer in manifest["layers"]:
            with tarfile.open(fileobj=io.BytesIO(blob(layer["digest"]))) as content:
                for member in content:
                    name = member.name.removeprefix("./").rstrip("/")
                    if os.path.basename(name).startswith(".wh."):
                        sys.exit(f"image-sbom: {name}: a layer removes a file of another, which is not supported")
                    if member.isfile():
                        files[name] = content.extractfile(member).read()
                    elif member.islnk():
                        files[name] = files[member.linkname.removeprefix("./")]
    return digest, config, files


def stanza(text):
    fields = {}
    for line in text.splitlines():
        if line[:1].isspace():
            continue
        name, _, value = line.partition(":")
        fields[name] = value.strip()
    return fields


def licence(copyright_text, extracted):
    """Of a machine-readable copyright file: all licences in it. Otherwise nothing is asserted."""
    if not re.search(r"^Format: *https?://.*copyright-format", copyright_text, re.MULTILINE):
        return "NOASSERTION"
    names = set()
    for paragraph in re.split(r"\n\s*\n", copyright_text):
        # In the header and in Files paragraphs; a separate License paragraph has only the text.
        if re.search(r"^Files:", paragraph, re.MULTILINE):
            names.update(re.findall(r"^License: *(\S.*?) *$", paragraph, re.MULTILINE))
    if not names:
        return "NOASSERTION"
    terms = set()
    for name in sorted(names):
        parts = re.split(r"\s+(?:and/or|or|and)\s+|\s*,\s*(?:and|or)?\s*", name, flags=re.IGNORECASE)
        joined = " OR " if re.search(r"\bor\b", name, re.IGNORECASE) else " AND "
        identifiers = []
        for part in filter(None, parts):
            spdx = LICENCES.get(part.lower())
            if spdx is None:
                spdx = "LicenseRef-Debian-" + re.sub(r"[^A-Za-z0-9.-]+", "-", part).strip("-")
                extracted[spdx] = part
            identifiers.append(spdx)
        identifiers = list(dict.fromkeys(identifiers))
        terms.add(identifiers[0] if len(identifiers) == 1 else f"({joined.join(identifiers)})")
    return " AND ".join(sorted(terms)).removeprefix("(").removesuffix(")") if len(terms) == 1 \
        else " AND ".join(sorted(terms))


def main(path):
    digest, config, files = read_image(path)
    stanzas = {name.removeprefix(STATUS): stanza(content.decode()) for name, content in files.items()
               if name.startswith(STATUS) and not name.endswith(".md5sums")}
    if OWN not in stanzas or len(stanzas) < 2:
        sys.exit(f"image-sbom: {path}: /{STATUS} names {len(stanzas)} packages; is this the image of deploy/Containerfile?")
    owner = {}
    for package in stanzas:
        for line in files[f"{STATUS}{package}.md5sums"].decode().splitlines():
            checksum, name = line.split("  ", 1)
            if name in owner:
                sys.exit(f"image-sbom: /{name} belongs to {owner[name]} and to {package}")
            if hashlib.md5(files[name], usedforsecurity=False).hexdigest() != checksum:
                sys.exit(f"image-sbom: /{name} differs from its checksum in {package}")
            owner[name] = package
    owner |= {name: OWN for name in files if name.startswith(STATUS)}
    if strange := sorted(files.keys() - owner.keys()):
        sys.exit(f"image-sbom: files without a package: {', '.join(strange)}")

    release = dict(line.split("=", 1) for line in files["usr/lib/os-release"].decode().splitlines() if "=" in line)
    distribution = release["ID"].strip('"') + "-" + release["VERSION_ID"].strip('"')
    extracted = {}
    documents = []
    packages = []
    relationships = [("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-image")]
    created = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.timezone.utc)
    packages.append({
        "SPDXID": "SPDXRef-image",
        "name": "nodeport-guard-image",
        "versionInfo": stanzas[OWN]["Version"],
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "primaryPackagePurpose": "CONTAINER",
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "checksums": [{"algorithm": digest.split(":")[0].upper(), "checksumValue": digest.split(":")[1]}],
    })
    for package, fields in sorted(stanzas.items()):
        reference = "SPDXRef-Package-" + re.sub(r"[^A-Za-z0-9.-]", "-", package)
        own_files = sorted(name for name in files if owner[name] == package)
        # Only its licence is in the image: it was compiled into the binary.
        linked_in = own_files == [f"usr/share/doc/{package}/copyright"]
        declared = OWN_LICENCE if package == OWN else licence(
            files[f"usr/share/doc/{package}/copyright"].decode(errors="replace"), extracted)
        sha1s = sorted(hashlib.sha1(files[name], usedforsecurity=False).hexdigest() for name in own_files)
        entry = {
            "SPDXID": reference,
            "name": package,
            "versionInfo": fields["Version"],
            "supplier": "Organization: Debian" if package != OWN else "NOASSERTION",
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": True,
            "packageVerificationCode": {"packageVerificationCodeValue": hashlib.sha1(
                "".join(sha1s).encode(), usedforsecurity=False).hexdigest()},
            "licenseInfoFromFiles": ["NOASSERTION"],
            "licenseConcluded": "NOASSERTION",
            "licenseDeclared": declared,
            "copyrightText": "NOASSERTION",
        }
        if package != OWN:
            source = re.sub(r" .*", "", fields.get("Source", package))
            entry["sourceInfo"] = f"built from the Debian source package {fields.get('Source', package)}"
            entry["externalRefs"] = [{
                "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                "referenceLocator": f"pkg:deb/debian/{package}@{fields['Version'].replace('+', '%2B').replace(':', '%3A')}"
                                    f"?arch={fields['Architecture']}&distro={distribution}&upstream={source}"}]
        packages.append(entry)
        relationships.append(("SPDXRef-image", "CONTAINS", reference))
        if linked_in:
            relationships.append(("SPDXRef-Package-" + OWN, "STATIC_LINK", reference))
        for name in own_files:
            file_reference = "SPDXRef-File-" + hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()
            relationships.append((reference, "CONTAINS", file_reference))
            documents.append({
                "SPDXID": file_reference,
                "fileName": "./" + name,
                "checksums": [
                    {"algorithm": "SHA1", "checksumValue": hashlib.sha1(files[name], usedforsecurity=False).hexdigest()},
                    {"algorithm": "SHA256", "checksumValue": hashlib.sha256(files[name]).hexdigest()}],
                "licenseConcluded": "NOASSERTION",
                "licenseInfoInFiles": ["NOASSERTION"],
                "copyrightText": "NOASSERTION",
            })
    json.dump({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"nodeport-guard-{stanzas[OWN]['Version']}-{config['architecture']}",
        "documentNamespace": f"https://spdx.org/spdxdocs/nodeport-guard-{stanzas[OWN]['Version']}-{digest.split(':')[1]}",
        "creationInfo": {"created": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
                         "creators": ["Tool: nodeport-guard-scripts-image"]},
        "packages": packages,
        "files": documents,
        "hasExtractedLicensingInfos": [
            {"licenseId": reference, "name": name,
             "extractedText": f"What Debian calls {name}; the text is in the image, in /usr/share/doc/PACKAGE/copyright."}
            for reference, name in sorted(extracted.items())],
        "relationships": [{"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
                          for one, kind, other in relationships],
    }, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: image-sbom.py IMAGE.oci.tar")
    main(sys.argv[1])
