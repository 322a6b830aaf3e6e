#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""manifests.py GUARD SOURCE_TREE FOLDER CGROUP RENDERER...: renders every base, overlay
and component, compares them with the binary and the documents, and runs the binary as
each of them specifies, with an API server that grants the rules of their ClusterRole.

Runs on a private node (manifests.sh), which is all that is guarded: CGROUP, in
place of the root. FOLDER has the API server's key and token, and pod.procs."""

import concurrent.futures
import copy
import functools
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import yaml

import cluster_api
import manifest_rules as rules

GUARD, TOP, FOLDER, CGROUP, *RENDERER = sys.argv[1:]
TOP, FOLDER = pathlib.Path(TOP), pathlib.Path(FOLDER)
DEPLOY = TOP / "deploy"
API_PORT, NODE_PORT = 6443, 33589
# The addresses of the node (manifests.sh), and the fields of the downward API.
HOST_IP, HOST_IPV6 = "192.0.2.10", "2001:db8::10"
FIELDS = {"spec.nodeName": "worker-1", "status.hostIP": HOST_IP}
SECRETS = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
PINS = pathlib.Path("/sys/fs/bpf/nodeport-guard")
# The mode and the scope that the guard must report.
MEANT = {"overlays/observe": ("observe", "loopback"), "overlays/local-scope": ("enforce", "local"),
         "all together": ("observe", "loopback")}
APPARMOR_ALONE, APPARMOR_UNINSTALL = "enforce, apparmor-field", "enforce, apparmor-field, uninstall"
RESERVE_UNINSTALL = "enforce, reserve-ports, bind-protection, uninstall"
ON_IPV6 = "monitoring, on an IPv6 address"
# The controller does not need it on Linux 5.11 or later.
MAY_LACK = {"SYS_RESOURCE"}


def fail(message):
    sys.exit(f"FAILED: {message}")


# Rendering.

def render(folder):
    done = subprocess.run([*RENDERER, folder], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        fail(f"{' '.join(RENDERER)} {folder}: {done.stderr.strip()}")
    return [document for document in yaml.load_all(done.stdout, yaml.CSafeLoader) if document]


def composed(name, resources, components):
    """An overlay as an administrator would write it, beside the shipped ones."""
    folder = FOLDER / "deploy" / "test" / name
    folder.mkdir(parents=True)
    (folder / "kustomization.yaml").write_text(yaml.safe_dump({
        "resources": [f"../../{resource}" for resource in resources],
        "components": [f"../../components/{component}" for component in components]}), encoding="utf-8")
    return folder


def variants():
    """name → documents, whether it is privileged, components."""
    shutil.copytree(DEPLOY, FOLDER / "deploy")
    components = sorted(path.parent.name for path in (DEPLOY / "components").glob("*/kustomization.yaml"))
    overlays = sorted(path.parent.name for path in (DEPLOY / "overlays").glob("*/kustomization.yaml"))
    assert {"observe", "enforce", "local-scope", "k3s", "privileged", "uninstall"} <= set(overlays), overlays
    assert {"monitoring", "kernel-5.10", "reserve-ports", "bind-protection"} <= set(components), components
    folders = {"base": (DEPLOY / "base", False, [])}
    for name in overlays:
        folders[f"overlays/{name}"] = (DEPLOY / "overlays" / name, name == "privileged", [])
    for name in components:
        folders[f"components/{name}"] = (composed(name, ["base"], [name]), name == "privileged", [name])
    together = [name for name in components if name not in ("privileged", "uninstall")]
    for name, overlay, parts in (
            ("all together", "observe", together), ("all together, uninstall", "observe", [*together, "uninstall"]),
            ("privileged, uninstall", "observe", ["privileged", "uninstall"]),
            (RESERVE_UNINSTALL, "enforce", ["reserve-ports", "bind-protection", "uninstall"]),
            (APPARMOR_ALONE, "enforce", ["apparmor-field"]),
            (APPARMOR_UNINSTALL, "enforce", ["apparmor-field", "uninstall"])):
        folders[name] = (composed(name, [f"overlays/{overlay}"], parts), "privileged" in parts, parts)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        rendered = pool.map(render, [folder for folder, *_ in folders.values()])
        made = {name: (documents, *rest) for (name, (_, *rest)), documents in zip(folders.items(), rendered)}
    made[ON_IPV6] = made["components/monitoring"]
    return made


def check_a_registry():
    """Expects that all images of the example in deploy/README.md, with uninstall, are the registry's."""
    folder = composed("my-cluster", ["overlays/observe"], ["monitoring", "uninstall"])
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (DEPLOY / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    told = {}
    for block in map(yaml.safe_load, blocks):
        # A block that begins with a list continues the patches.
        for name, value in ({"patches": block} if isinstance(block, list) else block).items():
            told[name] = told.get(name, []) + value if name == "patches" else value
    assert told["components"][-1] == "../components/uninstall", told
    for name in ("resources", "components"):
        told[name] = [f"../{path}" for path in told[name]]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(told), encoding="utf-8")
    documents = render(folder)
    images = {container["name"]: container["image"] for container in rules.containers_of(documents)}
    wanted = f"{told['images'][0]['newName']}:{told['images'][0]['newTag']}"
    if images != {"unload": wanted, "nodeport-guard": wanted}:
        fail(f"with a registry and components/uninstall the images are {images}")
    if not rules.one(documents, "ServiceAccount").get("imagePullSecrets"):
        fail("deploy/README.md: its patch names no Secret for pulling")
    for kind in ("PodMonitor", "PrometheusRule"):
        if "release" not in rules.one(documents, kind)["metadata"]["labels"]:
            fail(f"deploy/README.md: its patch gives the {kind} no label of a release")


def check_what_they_add(made):
    """Expects that the two components of prevention add their variable and the sysctl to the base, and
    no more; and that the patch that chooses `deny`, in the comment and in README.md, does."""
    node = "/proc/sys/net/ipv4/ip_local_reserved_ports"
    for component, variable, _ in rules.PROTECTION:
        documents = copy.deepcopy(made[f"components/{component}"][0])
        pod = rules.pod_of(documents)
        added = {volume["name"] for volume in pod["volumes"] if volume["hostPath"]["path"] == node}
        pod["volumes"] = [volume for volume in pod["volumes"] if volume["name"] not in added]
        [container] = pod["containers"]
        container["env"] = [one for one in container["env"] if one["name"] != variable]
        container["volumeMounts"] = [mount for mount in container["volumeMounts"] if mount["name"] not in added]
        if documents != made["base"][0]:
            fail(f"components/{component} changes more than it has to")
    comment = (DEPLOY / "components/bind-protection/kustomization.yaml").read_text(encoding="utf-8")
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    for where, text in {
            "bind-protection": re.sub(r"^# ?", "", re.search(
                r"^#   patches:\n(?:#     .*\n)+", comment, re.M)[0], flags=re.M),
            "README.md": re.search(r"^```yaml\n(patches:\n(?:(?!```).*\n)*?.*value: deny.*\n)```$", readme, re.M)[1]}.items():
        folder = composed(f"deny as in {where}", ["overlays/enforce"], ["reserve-ports", "bind-protection"])
        told = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(told | yaml.safe_load(text)), encoding="utf-8")
        chosen = [one["value"] for one in containers(render(folder))[0]["env"]
                  if one["name"] == "NODEPORT_GUARD_BIND_PROTECTION"]
        if chosen != ["deny"]:
            fail(f"with the patch of {where} bind protection is {chosen}")


# Changes of a manifest, at least one for each rule, that the rules must find.

def containers(documents):
    return rules.pod_of(documents)["containers"]


def change(kind, *path, value=None, remove=False):
    def apply(documents):
        at = rules.one(documents, kind)
        for step in path[:-1]:
            at = at[step]
        if remove:
            del at[path[-1]]
        else:
            at[path[-1]] = value
    return apply


POD = ("DaemonSet", "spec", "template", "spec")
CONTAINER = (*POD, "containers", 0)
CHANGES = [
    ("is in namespace", change("ServiceAccount", "metadata", "namespace", value="default")),
    ("lacks the label", change("ClusterRole", "metadata", "labels", value={})),
    ("unknown kind", lambda documents: documents.append(
        {"apiVersion": "v1", "kind": "Deamonset", "metadata": {"name": "x"}})),
    ("two have one name", lambda documents: documents.append(documents[0])),
    ("'imagePullPolice' was unexpected", change(*CONTAINER, "imagePullPolice", value="Always")),
    ("Namespace nodeport-guard: apiVersion", change("Namespace", "apiVersion", value="v2")),
    ("'label' was unexpected", change("Namespace", "metadata", "label", value={})),
    ("ServiceAccount nodeport-guard: apiVersion", change("ServiceAccount", "apiVersion", value="core/v1")),
    ("'secret' was unexpected", change("ServiceAccount", "secret", value=[])),
    ("ClusterRole nodeport-guard: apiVersion", change("ClusterRole", "apiVersion", value="rbac/v1")),
    ("'verb' was unexpected", change("ClusterRole", "rules", 0, "verb", value=["get"])),
    ("ClusterRoleBinding nodeport-guard: apiVersion", change("ClusterRoleBinding", "apiVersion", value="rbac/v1")),
    ("'apigroup' was unexpected", change("ClusterRoleBinding", "roleRef", "apigroup", value="x")),
    ("ResourceQuota nodeport-guard: apiVersion", change("ResourceQuota", "apiVersion", value="apps/v1")),
    ("'scopeSelectors' was unexpected", change("ResourceQuota", "spec", "scopeSelectors", value={})),
    ("DaemonSet nodeport-guard: apiVersion", change("DaemonSet", "apiVersion", value="extensions/v1beta1")),
    ("do not belong together", change("ClusterRoleBinding", "roleRef", "name", value="view")),
    ("do not belong together", change(*POD, "serviceAccountName", value="default")),
    ("pod security", change("Namespace", "metadata", "labels", "pod-security.kubernetes.io/enforce", value="baseline")),
    ("its pods are told by", change("DaemonSet", "spec", "selector", "matchLabels", value={"app": "x"})),
    ("priorityClassName is", change(*POD, "priorityClassName", remove=True)),
    ("tolerations is", change(*POD, "tolerations", value=[{"operator": "Exists", "key": "x"}])),
    ("hostNetwork is", change(*POD, "hostNetwork", value=False)),
    ("hostPID is", change(*POD, "hostPID", remove=True)),
    ("it is updated by", change("DaemonSet", "spec", "updateStrategy", "rollingUpdate", "maxUnavailable", value="20%")),
    ("minReadySeconds is", change("DaemonSet", "spec", "minReadySeconds", remove=True)),
    ("the quota is not", change("ResourceQuota", "spec", "hard", value={"cpu": "1"})),
    ("not small", change(*POD, "terminationGracePeriodSeconds", value=300)),
    ("'lifecycle' was unexpected", change(*CONTAINER, "lifecycle", value={"preStop": {}})),
    ("AppArmor is", change("DaemonSet", "spec", "template", "metadata", "annotations", value={})),
    ("resources are", change(*CONTAINER, "resources", "limits", "memory", value="8Mi")),
    ("the probes are", change(*CONTAINER, "livenessProbe", remove=True)),
    ("the probes are", change(*CONTAINER, "readinessProbe", "httpGet", "path", value="/healthz")),
    ("mounts", change(*CONTAINER, "volumeMounts", 0, "mountPath", value="/cgroup")),
    ("no reason for the mount", change(*POD, "volumes", 0, "hostPath", "path", value="/")),
    ("but VERSION is", change(*CONTAINER, "image", value="nodeport-guard:latest")),
    ("no command", change(*CONTAINER, "args", value=["start"])),
    ("has no flag --verbose", change(*CONTAINER, "args", value=["run", "--verbose"])),
    ("has no flag --mood", lambda documents: containers(documents)[0]["env"].append(
        {"name": "NODEPORT_GUARD_MOOD", "value": "x"})),
    ("not set before it", lambda documents: containers(documents)[0]["env"].append(
        {"name": "NODEPORT_GUARD_LOG_LEVEL", "value": "$(LEVEL)"})),
    ("adds", lambda documents: containers(documents)[0]["securityContext"]["capabilities"]["add"].append("SYS_ADMIN")),
    ("adds", lambda documents: containers(documents)[0]["securityContext"]["capabilities"]["add"].remove("NET_RAW")),
    ("runtime's capabilities", change(*CONTAINER, "securityContext", "capabilities", "drop", remove=True)),
    ("AppArmor field is",
     change(*CONTAINER, "securityContext", "appArmorProfile", value={"type": "Unconfined"})),
    ("seccompProfile", change(*CONTAINER, "securityContext", "seccompProfile", "type", value="RuntimeDefault")),
    ("read-only file system", change(*CONTAINER, "securityContext", "readOnlyRootFilesystem", value=False)),
    ("allowPrivilegeEscalation", change(*CONTAINER, "securityContext", "allowPrivilegeEscalation", value=True)),
    ("last words", change(*CONTAINER, "terminationMessagePolicy", value="File")),
]
MONITORING_CHANGES = [
    ("no port", change(*CONTAINER, "ports", 0, "name", value="metrics")),
    ("not go to the address", change(*CONTAINER, "startupProbe", "httpGet", "host", value="127.0.0.1")),
    ("does not select", change("PodMonitor", "spec", "selector", "matchLabels", value={"app": "guard"})),
    ("only one is there", lambda documents: documents.remove(rules.one(documents, "PrometheusRule"))),
    ("not set before it", lambda documents: containers(documents)[0]["env"].reverse()),
    ("one of IPv6", change(*CONTAINER, "env", 1, "value", value="$(HOST_IP):9829")),
    ("ConfigMap nodeport-guard-dashboard: apiVersion", change("ConfigMap", "apiVersion", value="v2")),
    ("'binarydata' was unexpected", change("ConfigMap", "binarydata", value={})),
    ("PodMonitor nodeport-guard: apiVersion", change("PodMonitor", "apiVersion", value="monitoring.coreos.com/v2")),
    ("'relabeling' was unexpected", change("PodMonitor", "spec", "podMetricsEndpoints", 0, "relabeling", value=[])),
    ("PrometheusRule nodeport-guard: apiVersion", change("PrometheusRule", "apiVersion", value="v1")),
    ("'expression' was unexpected",
     change("PrometheusRule", "spec", "groups", 0, "rules", 0, "expression", value="1")),
]
APPARMOR_CHANGES = [
    ("unload: its AppArmor field is",
     change(*POD, "initContainers", 0, "securityContext", "appArmorProfile", remove=True)),
    ("AppArmor field is", change(*CONTAINER, "securityContext", "appArmorProfile", "type", value="RuntimeDefault")),
    ("minReadySeconds is", change("DaemonSet", "spec", "minReadySeconds", value=30)),
]


RESERVED_MOUNT = "/host/ip_local_reserved_ports"
PROTECTION_CHANGES = [
    ("protects by", change(*CONTAINER, "env", value=[{"name": "NODEPORT_GUARD_RESERVE_PORTS", "value": "off"}])),
    ("can write the reserved ports", lambda documents: next(
        mount for mount in containers(documents)[0]["volumeMounts"]
        if mount["mountPath"] == RESERVED_MOUNT).update(readOnly=True)),
    ("mounts", lambda documents: next(
        mount for mount in containers(documents)[0]["volumeMounts"]
        if mount["mountPath"] == RESERVED_MOUNT).update(mountPath="/proc/sys/net/ipv4/ip_local_reserved_ports")),
    ("volumes of the types", lambda documents: next(
        volume for volume in rules.pod_of(documents)["volumes"]
        if volume["name"] == "reserved-ports")["hostPath"].update(type="Directory")),
]
RESERVE_UNINSTALL_CHANGES = [
    ("unload: can write the reserved ports", lambda documents: next(
        mount for mount in rules.pod_of(documents)["initContainers"][0]["volumeMounts"]
        if mount["mountPath"] == RESERVED_MOUNT).update(readOnly=True)),
    ("protects by", change(*CONTAINER, "env", value=[{"name": "NODEPORT_GUARD_RESERVE_PORTS", "value": "allocated"}])),
]


def check_the_rules(documents, facts, components, changes):
    for expected, apply in changes:
        wrong = copy.deepcopy(documents)
        apply(wrong)
        found = rules.faults(wrong, facts, False, components)
        if not any(expected in fault for fault in found):
            fail(f"a changed manifest passes; expected a fault with \"{expected}\", found {found}")


# Running, as kubelet would run the container.

def environment(container):
    values = {"PATH": os.environ["PATH"], "KUBERNETES_SERVICE_HOST": "127.0.0.1",
              "KUBERNETES_SERVICE_PORT": str(API_PORT), "NODEPORT_GUARD_CGROUP": CGROUP}
    for variable in container.get("env", []):
        field = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        values[variable["name"]] = FIELDS[field] if field else re.sub(
            r"\$\(([^)]*)\)", lambda match: values[match[1]], variable["value"])
    return values


@functools.cache
def obtainable(capabilities):
    """Those that root has on this machine, which may be a container that lacks some."""
    have = subprocess.run(["setpriv", "--dump"], check=True, text=True, stdout=subprocess.PIPE).stdout
    bounding = re.search(r"^Capability bounding set: (.*)$", have, re.M)[1].split(",")
    lacking = [name for name in capabilities if name.lower() not in bounding]
    if not MAY_LACK.issuperset(lacking):
        fail(f"root lacks {', '.join(lacking)} on this machine: no container can have the capabilities of the manifests")
    if lacking:
        print(f"  (root lacks {', '.join(lacking)} on this machine: the containers run without)")
    return [name.lower() for name in capabilities if name not in lacking]


def in_container(container, command):
    """The command in a cgroup of the pod, with the container's capabilities."""
    context = container["securityContext"]
    limits = []
    if not context.get("privileged"):
        capabilities = obtainable(tuple(context["capabilities"]["add"]))
        limits = ["--no-new-privs", "--bounding-set", ",".join(["-all"] + [f"+{name}" for name in capabilities])]
    return ["sh", "-c", 'echo $$ >"$0" && exec "$@"', FOLDER / "pod.procs", "unshare", "--cgroup",
            "setpriv", *limits, "--", *command]


def token_of(pod):
    """Puts the token where kubelet mounts it, if the pod has one."""
    shutil.rmtree(SECRETS, ignore_errors=True)
    if pod["automountServiceAccountToken"]:
        SECRETS.mkdir(parents=True)
        for name in ("token", "ca.crt"):
            shutil.copy(FOLDER / name, SECRETS / name)


def get(host, port, path):
    """The status code and the body; 0 and the error without an answer."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)
    finally:
        connection.close()


def await_probe(name, container, process, seconds):
    """Sends the probe as kubelet does, until it succeeds."""
    request = container[name]["httpGet"]
    where = (request.get("host", FIELDS["status.hostIP"]), request["port"], request["path"])
    deadline = time.monotonic() + seconds
    while True:
        code, text = get(*where)
        if 200 <= code < 400:
            return
        if process.poll() is not None or time.monotonic() > deadline:
            fail(f"{name}: {where} answers {code}, {text}; output of the container (exit status {process.poll()}):\n"
                 + container_log())
        time.sleep(0.1)


def container_log():
    return (FOLDER / "container.log").read_text(encoding="utf-8")


def end(process, pod):
    process.send_signal(signal.SIGTERM)
    try:
        code = process.wait(pod["terminationGracePeriodSeconds"])
    except subprocess.TimeoutExpired:
        process.kill()
        fail("SIGTERM does not end the container within terminationGracePeriodSeconds")
    if code != 0:
        fail(f"SIGTERM ends the container with {code}: {container_log()}")


def start(container):
    # Closed at the end of this function; the child has its own descriptor.
    with open(FOLDER / "container.log", "w", encoding="utf-8") as log:
        return subprocess.Popen(in_container(container, [GUARD, *container["args"]]),
                                env=environment(container), stdout=log, stderr=log)


def run(documents, meant, until):
    """Starts the container, sends every probe and a request to every port, and ends it."""
    pod, container = rules.pod_of(documents), containers(documents)[0]
    token_of(pod)
    process = start(container)
    try:
        startup = container["startupProbe"]
        await_probe("startupProbe", container, process, startup["periodSeconds"] * startup["failureThreshold"])
        await_probe("readinessProbe", container, process, 60)
        await_probe("livenessProbe", container, process, 15)
        paths = {"/metrics": container["livenessProbe"]["httpGet"]}
        for monitor in (document for document in documents if document["kind"] == "PodMonitor"):
            for endpoint in monitor["spec"]["podMetricsEndpoints"]:
                paths[endpoint["path"]] = {"port": next(port["containerPort"] for port in container["ports"]
                                                        if port["name"] == endpoint["port"])}
        for path, at in paths.items():
            code, text = get(at.get("host", FIELDS["status.hostIP"]), at["port"], path)
            if code != 200 or "nodeport_guard_ready 1" not in text:
                fail(f"{path} answers {code}: {text}")
        # Starts the command as `kubectl exec` does.
        status = json.loads(subprocess.run(
            in_container(container, [GUARD, "status", "-o", "json"]), env=environment(container),
            stdout=subprocess.PIPE, check=False).stdout)
        told = (status["guard"]["mode"], status["guard"]["scope"])
        if not status["healthy"] or told != meant:
            fail(f"the guard is {told}, healthy: {status['healthy']} ({status['problems']}), not {meant}")
        protection = status["protection"]
        protects = (protection["reserve_ports"]["mode"], protection["reserve_ports"]["state"], protection["bind"]["mode"])
        values = environment(container)
        reserves = values.get("NODEPORT_GUARD_RESERVE_PORTS", "off")
        if protects != (reserves, "off" if reserves == "off" else "ok",
                        values.get("NODEPORT_GUARD_BIND_PROTECTION", "off")):
            fail(f"it protects by {protects}")
        if {source["source"] for source in status["sources"]} != {"kubernetes", "netfilter"}:
            fail(f"its sources are {status['sources']}")
        deadline = time.monotonic() + 60
        while not until():
            if time.monotonic() > deadline or process.poll() is not None:
                fail(f"60 s were not enough for {until.__doc__}; output of the container:\n"
                     + container_log())
            time.sleep(0.1)
        end(process, pod)
    finally:
        if process.poll() is None:
            process.kill()
    if not PINS.is_dir():
        fail("the end of the controller removed the guard from the node")
    return container_log()


def uninstall(documents):
    """Runs the init container, then the one that waits, and expects a clean node."""
    pod = rules.pod_of(documents)
    token_of(pod)
    for container in pod["initContainers"]:
        done = subprocess.run(in_container(container, [GUARD, *container["args"]]), env=environment(container),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
        if done.returncode != 0:
            fail(f"{container['args']} ends with {done.returncode}: {done.stdout}")
    process = start(containers(documents)[0])
    try:
        deadline = time.monotonic() + 20
        while "waiting for SIGTERM" not in container_log() and process.poll() is None \
                and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)
        if process.poll() is not None or "waiting for SIGTERM" not in container_log():
            fail(f"the container does not wait (exit status {process.poll()}): {container_log()}")
        if PINS.exists():
            fail(f"pins are left: {sorted(PINS.rglob('*'))}")
        tables = subprocess.run(["nft", "list", "tables"], check=True, text=True, stdout=subprocess.PIPE).stdout
        if "nodeport_guard" in tables:
            fail(f"a table is left: {tables}")
        end(process, pod)
    finally:
        if process.poll() is None:
            process.kill()


def main():
    sys.stdout.reconfigure(line_buffering=True)
    facts = rules.Facts(TOP, GUARD)
    made = variants()
    for name, (documents, privileged, components) in made.items():
        found = rules.faults(documents, facts, privileged, components)
        if found:
            fail(f"{name}: " + "; ".join(found))
    check_the_rules(made["base"][0], facts, [], CHANGES)
    check_the_rules(made["components/monitoring"][0], facts, ["monitoring"], MONITORING_CHANGES)
    check_the_rules(made[APPARMOR_UNINSTALL][0], facts, ["apparmor-field", "uninstall"], APPARMOR_CHANGES)
    check_the_rules(made["components/reserve-ports"][0], facts, ["reserve-ports"], PROTECTION_CHANGES)
    check_the_rules(made[RESERVE_UNINSTALL][0], facts, ["reserve-ports", "bind-protection", "uninstall"],
                    RESERVE_UNINSTALL_CHANGES)
    check_what_they_add(made)
    changed = CHANGES + MONITORING_CHANGES + APPARMOR_CHANGES + PROTECTION_CHANGES + RESERVE_UNINSTALL_CHANGES
    print(f"{len(made)} manifests are correct; {len(changed)} changed ones are refused.")

    check_a_registry()
    role = {name: rules.one(documents, "ClusterRole")["rules"] for name, (documents, *_) in made.items()}
    if any(other != role["base"] for other in role.values()):
        fail("the ClusterRole is not the same everywhere")
    api = cluster_api.ClusterApi(API_PORT, FOLDER / "ca.crt", FOLDER / "key.pem",
                                 (FOLDER / "token").read_text(encoding="utf-8"), role["base"], NODE_PORT)
    expected = api.granted
    ran = []
    with socket.create_server(("127.0.0.1", NODE_PORT)):
        for name, (documents, *_) in made.items():
            # A component runs in the variant that has all of them. The variant with the
            # AppArmor field cannot run here.
            if containers(documents)[0]["args"][0] != "run" or name.startswith("components/") \
                    or name == APPARMOR_ALONE:
                continue

            def asked_for_everything():
                """requests with all verbs that the ClusterRole grants"""
                return api.refused or expected <= api.asked
            FIELDS["status.hostIP"] = HOST_IPV6 if name == ON_IPV6 else HOST_IP
            log = run(documents, MEANT.get(name, ("enforce", "loopback")), asked_for_everything)
            if api.refused:
                fail(f"{name}: the guard asks for {api.refused}, which the ClusterRole does not grant")
            adopted = re.search(r"event=ready.* adopted=(\w+)", log)
            if not adopted or adopted[1] != ("true" if ran else "false"):
                fail(f"{name}: does not adopt the guard that is loaded:\n{log}")
            ran.append(name)
            print(f"  {name}: probes and /metrics answer; the guard stays after the container ends")
    if api.asked != expected:
        fail(f"asked for {api.asked}, granted {api.granted}")
    print(f"{len(ran)} containers ran; the guard asks for all that its ClusterRole grants, and no more.")

    removed = [name for name, (documents, *_) in made.items()
               if containers(documents)[0]["args"][0] == "unload" and not name.startswith("components/")
               and uninstall(documents) is None]
    if not removed:
        fail("no overlay removes the guard")
    print(f"{'; '.join(removed)}: the node is clean, and the pod waits.")
    api.stop()


main()
