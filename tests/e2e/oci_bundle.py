#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""oci_bundle.py IMAGE.oci.tar DAEMONSET.yaml BUNDLE HOSTPATH=PATH... -- ARGUMENT...

Unpacks the image into BUNDLE/rootfs, and writes BUNDLE/config.json as kubelet and containerd
would for the container of the DaemonSet: privileges, mounts and namespaces are those of the
manifest. PATH replaces HOSTPATH of the node. The ARGUMENTs replace those of the manifest if they
begin with a subcommand, and follow them otherwise. Prints the capabilities.
"""

import io
import json
import os
import sys
import tarfile

import yaml

# The paths that containerd hides from a container that is not privileged.
MASKED = ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
          "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware"]
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]

# The controller does not need it on Linux 5.11 or later. All others must be available, so that
# the container is that of the manifest.
MAY_LACK = {"SYS_RESOURCE"}

# The numbers of linux/capability.h.
CAPABILITIES = {"DAC_READ_SEARCH": 2, "NET_ADMIN": 12, "NET_RAW": 13, "SYS_PTRACE": 19, "SYS_ADMIN": 21,
                "SYS_RESOURCE": 24, "PERFMON": 38, "BPF": 39}


def unpack(image, rootfs):
    """The layers, one over the other; returns the image's configuration."""
    with tarfile.open(image) as archive:
        def blob(digest):
            return archive.extractfile("blobs/" + digest.replace(":", "/")).read()

        index = json.load(archive.extractfile("index.json"))
        manifest = json.loads(blob(index["manifests"][0]["digest"]))
        for layer in manifest["layers"]:
            with tarfile.open(fileobj=io.BytesIO(blob(layer["digest"]))) as content:
                content.extractall(rootfs)
        return json.loads(blob(manifest["config"]["digest"]))["config"]


def own_bounding_set():
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1], 16) for line in status if line.startswith("CapBnd:"))


def main(image, daemonset, bundle, *rest):
    split = rest.index("--")
    here = dict(item.split("=", 1) for item in rest[:split])
    arguments = list(rest[split + 1:])
    config = unpack(image, os.path.join(bundle, "rootfs"))

    with open(daemonset, encoding="utf-8") as file:
        pod = next(document for document in yaml.safe_load_all(file)
                   if document["kind"] == "DaemonSet")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    security = container["securityContext"]
    for what, is_so in {
            "hostNetwork": pod.get("hostNetwork"), "hostPID": pod.get("hostPID"),
            "capabilities.drop: [ALL]": security["capabilities"].get("drop") == ["ALL"],
            "allowPrivilegeEscalation: false": security.get("allowPrivilegeEscalation") is False,
            "seccompProfile Unconfined": security.get("seccompProfile", {}).get("type") == "Unconfined",
            "not privileged": not security.get("privileged")}.items():
        if not is_so:
            sys.exit(f"oci_bundle: {daemonset}: not {what}, which is what this test stands for; adapt it")

    bounding = own_bounding_set()
    capabilities = []
    for name in security["capabilities"]["add"]:
        if bounding >> CAPABILITIES[name] & 1:
            capabilities.append("CAP_" + name)
        elif name not in MAY_LACK:
            sys.exit(f"oci_bundle: this machine's own root lacks CAP_{name}: no container can have it here")
        else:
            print(f"this machine's root lacks CAP_{name}: the container runs without it", file=sys.stderr)

    volumes = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume}
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    ]
    for mount in container["volumeMounts"]:
        path = volumes[mount["name"]]
        slave = mount.get("mountPropagation") == "HostToContainer"
        mounts.append({"destination": mount["mountPath"], "type": "bind", "source": here.get(path, path),
                       "options": ["rbind", "rslave" if slave else "rprivate",
                                   "ro" if mount.get("readOnly") else "rw"]})

    own = container.get("args", config["Cmd"])
    full = config["Entrypoint"] + (own + arguments if arguments[:1] and arguments[0].startswith("-") else arguments or own)
    environment = config["Env"] + [f"{item['name']}={item.get('value', 'test-node')}" for item in container.get("env", [])]
    with open(os.path.join(bundle, "config.json"), "w", encoding="utf-8") as file:
        json.dump({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs", "readonly": security["readOnlyRootFilesystem"]},
            "process": {
                "user": {"uid": security["runAsUser"], "gid": security["runAsGroup"]},
                "cwd": "/",
                "args": full,
                "env": environment,
                "noNewPrivileges": True,
                "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
            },
            "hostname": "test-node",
            "mounts": mounts,
            "linux": {
                "cgroupsPath": os.environ["OCI_CGROUP"],
                # No network and no pid namespace of its own: those of the node.
                "namespaces": [{"type": kind} for kind in ("mount", "ipc", "uts", "cgroup")],
                "maskedPaths": MASKED,
                "readonlyPaths": READ_ONLY,
            },
        }, file, indent=1)
    print(f"{sum(1 << CAPABILITIES[name.removeprefix('CAP_')] for name in capabilities):016x}")


if __name__ == "__main__":
    main(*sys.argv[1:])
