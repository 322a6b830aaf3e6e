# SPDX-License-Identifier: Apache-2.0
"""Rules for rendered manifests: each function yields the faults that it finds, as text.
`facts` has the data to compare with: the binary, deploy/README.md, VERSION and the
systemd unit."""

import functools
import json
import re
import subprocess

import jsonschema

NAME = "nodeport-guard"
APP_LABEL = "app.kubernetes.io/name"
APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
CLUSTER_WIDE = {"Namespace", "ClusterRole", "ClusterRoleBinding"}
PROTECTION = [("reserve-ports", "NODEPORT_GUARD_RESERVE_PORTS", "allocated"),
              ("bind-protection", "NODEPORT_GUARD_BIND_PROTECTION", "warn")]
PROBES = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}


class Facts:
    def __init__(self, top, guard):
        self.guard = guard
        self.version = self.text(top / "VERSION").strip()
        readme = self.text(top / "deploy/README.md")
        rows = {match[1]: match[2] for match in re.finditer(r"^\| `([A-Z_]+)` \| (.*) \|$", readme, re.M)}
        self.capabilities = {name for name, why in rows.items() if "only with `components/" not in why}
        self.component_capabilities = {
            component: name for name, why in rows.items()
            for component in re.findall(r"only with `components/([^`]+)`", why)}
        unit = self.text(top / "deploy/systemd/nodeport-guard.service.in")
        self.unit_capabilities = {name.removeprefix("CAP_") for name in re.search(
            r"^CapabilityBoundingSet=(.*)$", unit, re.M)[1].split()}
        code = dict(re.findall(r'\{CAP_\w+, "CAP_(\w+)", Capability::Need::(\w+)',
                               self.text(top / "userspace/base/capabilities.h")))
        self.code_capabilities = {name for name, need in code.items() if need != "kOldKernel"}
        assert {"SYS_RESOURCE"} == set(code) - self.code_capabilities, code
        # Where the sysctl is on the node, and where the guard looks for a mount of it.
        self.reserved_ports = re.findall(r'"(/\w[^"]*/ip_local_reserved_ports)"', self.text(
            top / "userspace/node/reserved_ports.cc"))
        assert len(self.reserved_ports) == 2, self.reserved_ports
        # The first column of the tables about settings and mounts.
        self.explained = {name.split(":")[0] for name in re.findall(r"`([^`]+)`", "".join(
            re.findall(r"^\|([^|]*`[^|]*)\|[^|]*\|$", readme, re.M)))}
        self.memory = dict(zip(("request", "limit"), (size + "Mi" for size in re.search(
            r"(\d+) MiB are requested and the limit is (\d+) MiB", readme).groups())))
        self.cpu = re.search(r"CPU: (\w+) are requested", readme)[1]
        self.flags = {command: set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", self.help(command), re.M))
                      for command in re.findall(r"^  ([a-z]+) {2,}\S", self.help(), re.M)}
        assert len(self.flags) > 4 and all(self.flags.values()), self.flags
        assert len(self.capabilities) > 4 and self.component_capabilities, rows

    @staticmethod
    def text(path):
        return path.read_text(encoding="utf-8")

    def help(self, *command):
        return subprocess.run([self.guard, *command, "--help"], check=True, text=True,
                              stdout=subprocess.PIPE).stdout


def one(documents, kind):
    found = [document for document in documents if document["kind"] == kind]
    assert len(found) == 1, f"{len(found)} of kind {kind}"
    return found[0]


def pod_of(documents):
    return one(documents, "DaemonSet")["spec"]["template"]["spec"]


def containers_of(documents):
    pod = pod_of(documents)
    return pod.get("initContainers", []) + pod["containers"]


def some(schema=None, **names):
    """An object with these members and no others, so that a typing error is a fault."""
    return {"type": "object", "additionalProperties": False, "properties": names} | (schema or {})


def many(schema):
    return {"type": "array", "minItems": 1, "items": schema}


def manifest(kind, version, **more):
    return some({"required": ["apiVersion", "kind", "metadata", *more]},
                apiVersion={"const": version}, kind={"const": kind}, metadata=METADATA, **more)


TEXT, NUMBER, FLAG = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
LABELS = {"type": "object", "additionalProperties": TEXT}
QUANTITIES = some(cpu={"pattern": "^[0-9]+m?$"}, memory={"pattern": "^[0-9]+(Ki|Mi|Gi)$"})
METADATA = some({"required": ["name"]}, name=TEXT, namespace=TEXT, labels=LABELS, annotations=LABELS)
PROBE = some({"required": ["httpGet"]},
             httpGet=some({"required": ["path", "port"]}, host=TEXT, path=TEXT, port={"type": ["integer", "string"]}),
             initialDelaySeconds=NUMBER, periodSeconds=NUMBER, timeoutSeconds=NUMBER, failureThreshold=NUMBER)
CONTAINER = some(
    {"required": ["name", "image", "args", "securityContext", "volumeMounts"]},
    name=TEXT, image=TEXT, imagePullPolicy={"enum": ["IfNotPresent", "Always", "Never"]}, args=many(TEXT),
    env=many(some({"required": ["name"], "oneOf": [{"required": ["value"]}, {"required": ["valueFrom"]}]},
                  name={"pattern": "^[A-Z][A-Z0-9_]*$"}, value=TEXT,
                  valueFrom=some(fieldRef=some({"required": ["fieldPath"]}, fieldPath={
                      "enum": ["spec.nodeName", "status.hostIP", "status.podIP", "metadata.name"]})))),
    ports=many(some({"required": ["containerPort"]},
                    name=TEXT, containerPort=NUMBER, protocol={"enum": ["TCP", "UDP"]})),
    startupProbe=PROBE, livenessProbe=PROBE, readinessProbe=PROBE,
    resources=some(requests=QUANTITIES, limits=QUANTITIES),
    terminationMessagePolicy={"enum": ["File", "FallbackToLogsOnError"]},
    securityContext=some(
        runAsUser=NUMBER, runAsGroup=NUMBER, privileged=FLAG, readOnlyRootFilesystem=FLAG,
        allowPrivilegeEscalation=FLAG, capabilities=some(add=many(TEXT), drop=many(TEXT)),
        seccompProfile=some(type={"enum": ["Unconfined", "RuntimeDefault"]}),
        appArmorProfile=some(type={"enum": ["Unconfined", "RuntimeDefault"]})),
    volumeMounts=many(some({"required": ["name", "mountPath"]}, name=TEXT, mountPath=TEXT, readOnly=FLAG,
                           mountPropagation={"enum": ["None", "HostToContainer", "Bidirectional"]})))
DAEMON_SET = manifest(
    "DaemonSet", "apps/v1",
    spec=some({"required": ["selector", "template", "updateStrategy"]},
              selector=some(matchLabels=LABELS), minReadySeconds=NUMBER,
              updateStrategy=some(type={"const": "RollingUpdate"}, rollingUpdate=some(
                  maxUnavailable={"pattern": "^[0-9]+%$"}, maxSurge=NUMBER)),
              template=some(
                  metadata=some(labels=LABELS, annotations=LABELS),
                  spec=some({"required": ["containers", "volumes", "serviceAccountName"]},
                            serviceAccountName=TEXT, automountServiceAccountToken=FLAG, enableServiceLinks=FLAG,
                            priorityClassName=TEXT, nodeSelector=LABELS, hostNetwork=FLAG, hostPID=FLAG,
                            tolerations=many(some(operator=TEXT, key=TEXT, effect=TEXT, value=TEXT)),
                            dnsPolicy={"enum": ["Default", "ClusterFirst", "ClusterFirstWithHostNet", "None"]},
                            terminationGracePeriodSeconds=NUMBER,
                            initContainers=many(CONTAINER), containers=many(CONTAINER),
                            volumes=many(some({"required": ["name", "hostPath"]}, name=TEXT, hostPath=some(
                                {"required": ["path"]}, path=TEXT, type={"enum": ["Directory", "File"]})))))))
RBAC = "rbac.authorization.k8s.io"
SCHEMAS = {
    "DaemonSet": DAEMON_SET,
    "Namespace": manifest("Namespace", "v1"),
    "ServiceAccount": manifest("ServiceAccount", "v1"),
    "ClusterRole": manifest("ClusterRole", f"{RBAC}/v1", rules=many(some(
        {"required": ["apiGroups", "resources", "verbs"]},
        # The API group of Services is called "".
        apiGroups=many({"type": "string"}), resources=many(TEXT),
        verbs=many({"enum": ["get", "list", "watch", "create", "update", "patch", "delete"]})))),
    "ClusterRoleBinding": manifest(
        "ClusterRoleBinding", f"{RBAC}/v1",
        roleRef=some({"required": ["apiGroup", "kind", "name"]},
                     apiGroup={"const": RBAC}, kind={"const": "ClusterRole"}, name=TEXT),
        subjects=many(some({"required": ["kind", "name", "namespace"]},
                           kind={"const": "ServiceAccount"}, name=TEXT, namespace=TEXT))),
    "ResourceQuota": manifest("ResourceQuota", "v1", spec=some(
        {"required": ["hard", "scopeSelector"]}, hard=LABELS,
        scopeSelector=some({"required": ["matchExpressions"]}, matchExpressions=many(some(
            {"required": ["scopeName", "operator"]},
            scopeName=TEXT, operator={"enum": ["In", "NotIn", "Exists", "DoesNotExist"]}, values=many(TEXT)))))),
    "ConfigMap": manifest("ConfigMap", "v1", data=LABELS),
    "PodMonitor": manifest("PodMonitor", "monitoring.coreos.com/v1", spec=some(
        {"required": ["selector", "podMetricsEndpoints"]}, jobLabel=TEXT, selector=some(matchLabels=LABELS),
        podMetricsEndpoints=many(some(
            {"required": ["port"]}, port=TEXT, path=TEXT, relabelings=many(some(
                {"required": ["targetLabel"]}, sourceLabels=many(TEXT), targetLabel=TEXT)))))),
    "PrometheusRule": manifest("PrometheusRule", "monitoring.coreos.com/v1", spec=some(
        {"required": ["groups"]}, groups=many(some({"required": ["name", "rules"]}, name=TEXT, rules=many(some(
            {"required": ["alert", "expr"]}, alert=TEXT, expr=TEXT, labels=LABELS, annotations=LABELS,
            **{"for": {"pattern": "^[0-9]+[smh]$"}})))))),
}


@functools.cache
def schema_errors(kind, text):
    """The faults of one document. Cached, because nearly all documents occur in several manifests."""
    errors = jsonschema.Draft202012Validator(SCHEMAS.get(kind, {})).iter_errors(json.loads(text))
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in errors]


def structure(documents, facts):
    """Names, namespaces, references, and fields that Kubernetes knows."""
    del facts
    for document in documents:
        metadata = document.get("metadata", {})
        what = f"{document.get('kind')} {metadata.get('name')}"
        if document.get("kind") not in SCHEMAS:
            yield f"{what}: unknown kind"
        for error in schema_errors(document.get("kind"), json.dumps(document)):
            yield f"{what}: {error}"
        if (metadata.get("namespace") == NAME) == (document.get("kind") in CLUSTER_WIDE):
            yield f"{what}: is in namespace {metadata.get('namespace')}"
        if metadata.get("labels", {}).get(APP_LABEL) != NAME:
            yield f"{what}: lacks the label {APP_LABEL}"
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    if len(set(names)) != len(names):
        yield f"two have one name: {names}"
    daemon_set = one(documents, "DaemonSet")
    # The selector of a DaemonSet is immutable, so all overlays must have the same.
    template = daemon_set["spec"]["template"]
    for labels in (daemon_set["spec"]["selector"]["matchLabels"], template["metadata"]["labels"]):
        if labels != {APP_LABEL: NAME}:
            yield f"DaemonSet: its pods are told by {labels}"
    account = one(documents, "ServiceAccount")["metadata"]["name"]
    binding = one(documents, "ClusterRoleBinding")
    if template["spec"].get("serviceAccountName") != account \
            or binding["roleRef"]["name"] != one(documents, "ClusterRole")["metadata"]["name"] \
            or binding["subjects"] != [{"kind": "ServiceAccount", "name": account, "namespace": NAME}]:
        yield "pod, account, binding and role do not belong together"
    level = one(documents, "Namespace")["metadata"]["labels"].get("pod-security.kubernetes.io/enforce")
    if level != "privileged":
        yield f"the namespace enforces pod security {level}"


def pod(documents, facts):
    """The settings of the pod, equal in every overlay."""
    daemon_set = one(documents, "DaemonSet")
    spec = daemon_set["spec"]["template"]["spec"]
    unload = spec["containers"][0]["args"][0] == "unload"
    wanted = {
        "priorityClassName": "system-node-critical", "tolerations": [{"operator": "Exists"}],
        "hostNetwork": True, "hostPID": True, "dnsPolicy": "Default", "enableServiceLinks": False,
        "automountServiceAccountToken": not unload}
    for name, value in wanted.items():
        if spec.get(name) != value:
            yield f"{name} is {spec.get(name)}, not {value}"
        if name not in facts.explained and name not in ("tolerations",):
            yield f"README.md gives no reason for {name}"
    if not 0 < spec.get("terminationGracePeriodSeconds", 30) <= 10:
        yield "terminationGracePeriodSeconds is not small"
    quota = one(documents, "ResourceQuota")["spec"]
    if set(quota["hard"]) != {"pods"} or quota["scopeSelector"]["matchExpressions"] != [
            {"scopeName": "PriorityClass", "operator": "In", "values": [spec.get("priorityClassName")]}]:
        yield f"the quota is not for pods of its priority class: {quota}"
    rolling = daemon_set["spec"]["updateStrategy"]["rollingUpdate"]
    if rolling != {"maxUnavailable": "100%" if unload else "10%", "maxSurge": 0}:
        yield f"it is updated by {rolling}"
    if daemon_set["spec"].get("minReadySeconds") != (0 if unload else 30):
        yield f"minReadySeconds is {daemon_set['spec'].get('minReadySeconds')}"
    if "minReadySeconds" not in facts.explained:
        yield "README.md gives no reason for minReadySeconds"
    annotations = daemon_set["spec"]["template"]["metadata"].get("annotations", {})
    profiles = {name.removeprefix(APPARMOR) for name, value in annotations.items()
                if name.startswith(APPARMOR) and value == "unconfined"}
    if profiles != {container["name"] for container in containers_of(documents)}:
        yield f"AppArmor is unconfined for {profiles}"
    resources = spec["containers"][0].get("resources")
    if resources != {"requests": {"cpu": facts.cpu, "memory": facts.memory["request"]},
                     "limits": {"memory": facts.memory["limit"]}}:
        yield f"resources are {resources}; README.md says {facts.cpu}, {facts.memory}"
    probes = {name: probe["httpGet"]["path"] for name, probe in spec["containers"][0].items() if name in PROBES}
    if probes != ({} if unload else PROBES):
        yield f"the probes are {probes}"


def mounts(documents, facts):
    """Each volume is mounted at its path on the node, and README.md gives the reason. Runtimes
    refuse mounts below /proc, so the sysctl is elsewhere."""
    volumes = {volume["name"]: volume.get("hostPath", {}).get("path") for volume in pod_of(documents)["volumes"]}
    for container in containers_of(documents):
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        node, elsewhere = facts.reserved_ports
        if mounted != {name: elsewhere if path == node else path for name, path in volumes.items()}:
            yield f"{container['name']}: mounts {mounted} of {volumes}"
    for path in volumes.values():
        if path not in facts.explained:
            yield f"README.md gives no reason for the mount {path}"


def protection(documents, facts, privileged, components):
    """What the components reserve-ports and bind-protection set, and nothing of it without them.
    Whatever ran before, `unload` can change the sysctl."""
    del privileged
    unload = containers_of(documents)[-1]["args"][0] == "unload"
    wanted = {} if unload else {name: value for component, name, value in PROTECTION if component in components}
    writes = unload or "reserve-ports" in components
    for container in containers_of(documents):
        told = {variable["name"]: variable.get("value") for variable in container.get("env", [])
                if variable["name"] in {name for _, name, _ in PROTECTION}}
        if told != wanted:
            yield f"{container['name']}: protects by {told}, not {wanted}"
        written = [mount for mount in container["volumeMounts"]
                   if mount["mountPath"] in facts.reserved_ports and not mount.get("readOnly")]
        if len(written) != writes:
            yield f"{container['name']}: can write the reserved ports by {written}"
    types = [volume["hostPath"].get("type") for volume in pod_of(documents)["volumes"]
             if volume["hostPath"]["path"] == facts.reserved_ports[0]]
    if types != ["File"] * writes:
        yield f"the reserved ports are volumes of the types {types}"


def rights(documents, facts, privileged, components):
    """Capabilities and other privileges of a container."""
    if not facts.capabilities == facts.unit_capabilities == facts.code_capabilities:
        yield (f"README.md has {facts.capabilities}, the systemd unit {facts.unit_capabilities}, "
               f"capabilities.h {facts.code_capabilities}")
    wanted = facts.capabilities | {facts.component_capabilities[name] for name in components
                                   if name in facts.component_capabilities}
    for container in containers_of(documents):
        context = dict(container["securityContext"])
        if context.pop("runAsUser", None) != 0 or context.pop("runAsGroup", None) != 0 \
                or context.pop("readOnlyRootFilesystem", None) is not True:
            yield f"{container['name']}: is not root on a read-only file system"
        profile = context.pop("appArmorProfile", None)
        if profile != ({"type": "Unconfined"} if "apparmor-field" in components else None):
            yield f"{container['name']}: its AppArmor field is {profile}"
        if privileged:
            if context != {"privileged": True}:
                yield f"{container['name']}: privileged, and {context}"
            continue
        capabilities = context.pop("capabilities", {})
        if capabilities.get("drop") != ["ALL"]:
            yield f"{container['name']}: keeps the runtime's capabilities"
        if sorted(capabilities.get("add", [])) != sorted(wanted):
            yield f"{container['name']}: adds {capabilities.get('add')}, README.md has {sorted(wanted)}"
        if context != {"allowPrivilegeEscalation": False, "seccompProfile": {"type": "Unconfined"}}:
            yield f"{container['name']}: {context}"
        if container.get("terminationMessagePolicy") != "FallbackToLogsOnError":
            yield f"{container['name']}: its last words are not its termination message"


def commands(documents, facts):
    """Image, arguments and environment, compared with the help of the binary."""
    for container in containers_of(documents):
        name, (command, *arguments) = container["name"], container["args"]
        if container["image"] != f"{NAME}:{facts.version}":
            yield f"{name}: image {container['image']}, but VERSION is {facts.version}"
        if command not in facts.flags:
            yield f"{name}: there is no command {command}"
            continue
        for argument in arguments:
            if argument.split("=")[0] not in facts.flags[command]:
                yield f"{name}: {command} has no flag {argument}"
        before = set()
        for variable in container.get("env", []):
            flag = "--" + variable["name"].removeprefix("NODEPORT_GUARD_").lower().replace("_", "-")
            if variable["name"].startswith("NODEPORT_GUARD_") and flag not in facts.flags[command]:
                yield f"{name}: {command} has no flag {flag} for {variable['name']}"
            # kubelet expands only variables that are defined before.
            for used in set(re.findall(r"\$\(([^)]*)\)", variable.get("value", ""))) - before:
                yield f"{name}: {variable['name']} uses {used}, which is not set before it"
            before.add(variable["name"])


def scraping(documents, facts):
    """The pod has the ports and labels that a PodMonitor refers to."""
    del facts
    for monitor in (document for document in documents if document["kind"] == "PodMonitor"):
        container = pod_of(documents)["containers"][0]
        if container["args"][0] == "unload":
            continue
        address = next((variable["value"] for variable in container["env"]
                        if variable["name"] == "NODEPORT_GUARD_HTTP_ADDRESS"), "")
        if not re.match(r"\[[^]]+\]:", address):
            yield f"the address {address} is none where the node's is one of IPv6"
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            if endpoint["port"] not in ports:
                yield f"PodMonitor: no port {endpoint['port']} among {ports}"
        if monitor["spec"]["selector"]["matchLabels"] != {APP_LABEL: NAME} or monitor["spec"]["jobLabel"] != APP_LABEL:
            yield "PodMonitor: does not select the DaemonSet's pods"
        for name in PROBES:
            probe = container[name]["httpGet"]
            if "host" in probe or probe["port"] not in ports.values():
                yield f"{name}: does not go to the address of the node"
    if any(document["kind"] == "PodMonitor" for document in documents) != any(
            document["kind"] == "PrometheusRule" for document in documents):
        yield "of PodMonitor and PrometheusRule only one is there"


def faults(documents, facts, privileged, components):
    """The faults of all checks. A document that a check cannot read is a fault, too."""
    found = []
    for check in (structure, pod, mounts, commands, scraping, protection, rights):
        more = (privileged, components) if check in (protection, rights) else ()
        try:
            found += check(documents, facts, *more)
        except (AssertionError, KeyError, IndexError, TypeError, AttributeError) as error:
            found.append(f"{check.__name__}: {error!r}")
    return found
