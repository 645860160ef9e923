{{/* What the schema can't say: rules over several values, each refused with what to do. */}}
{{- define "sextant.guards" -}}
{{- include "sextant.guards.addresses" . -}}
{{- include "sextant.guards.replicas" . -}}
{{- include "sextant.guards.datastore" . -}}
{{- include "sextant.guards.reach" . -}}
{{- include "sextant.guards.telemetry" . -}}
{{- include "sextant.guards.skew" . -}}
{{- end }}

{{- define "sextant.guards.addresses" -}}
{{- $public := .Values.public -}}
{{- $endpoints := dict "public.apiserver.endpoint" (list $public.apiserver.endpoint) "public.supervisor.endpoint" (list $public.supervisor.endpoint) "public.apiserver.nodeEndpoints" $public.apiserver.nodeEndpoints "datastore.etcd.endpoints" .Values.datastore.etcd.endpoints -}}
{{- range $key, $all := $endpoints -}}
{{- range compact $all -}}
{{- if not (regexMatch "^([A-Za-z0-9.-]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}$" .) -}}
{{- fail (printf "%s is %q: it must be host:port without a scheme, as api.example.org:6443 or [2001:db8::7]:6443" $key .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $key, $cidr := pick .Values.cluster "podCidr" "serviceCidr" -}}
{{- if not (regexMatch "^[0-9A-Fa-f.:]+/[0-9]{1,3}$" $cidr) -}}
{{- fail (printf "cluster.%s is %q: it must be a network, as 10.96.0.0/16" $key $cidr) -}}
{{- end -}}
{{- end -}}
{{- range $key, $address := pick .Values.cluster "dnsAddress" "nodeApiAddress" -}}
{{- if not (regexMatch "^[0-9A-Fa-f.:]+$" $address) -}}
{{- fail (printf "cluster.%s is %q: it must be an IP address" $key $address) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "sextant.guards.telemetry" -}}
{{- with .Values.telemetry -}}
{{- if and .otlpEndpoint (not (regexMatch "^https?://[^/]+$" .otlpEndpoint)) -}}
{{- fail (printf "telemetry.otlpEndpoint is %q: it must be a URL of OTLP over gRPC, as https://collector.monitoring:4317" .otlpEndpoint) -}}
{{- end -}}
{{- $secure := hasPrefix "https://" .otlpEndpoint -}}
{{- if and $secure (not .tlsSecret.name) -}}
{{- fail (printf "telemetry.otlpEndpoint is %q, but telemetry.tlsSecret.name is empty: name a Secret with ca.crt, the authorities of the collector's certificate" .otlpEndpoint) -}}
{{- end -}}
{{- if and .tlsSecret.name (not $secure) -}}
{{- fail (printf "telemetry.tlsSecret.name is %q, but telemetry.otlpEndpoint is %q, without TLS: begin it with https://" .tlsSecret.name .otlpEndpoint) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "sextant.guards.replicas" -}}
{{- range $part, $spec := include "sextant.parts" . | fromYaml -}}
{{- $this := dict "root" $ "part" $part "spec" $spec -}}
{{- $values := include "sextant.values" $this | fromJson -}}
{{- $way := eq $part "datastore-proxy" | ternary "datastore.type to postgres, mysql or etcd" "certAuthority.state to secret" -}}
{{- if include "sextant.claim" $this -}}
{{- if gt (int $values.replicas) 1 -}}
{{- fail (printf "%s.replicas is %d, but %s keeps its state on one volume and has one replica: set it to 1, or %s" $spec.values (int $values.replicas) $part $way) -}}
{{- end -}}
{{- if $values.autoscaling.enabled -}}
{{- fail (printf "%s.autoscaling.enabled is true, but %s keeps its state on one volume and has one replica: set it to false, or %s" $spec.values $part $way) -}}
{{- end -}}
{{- end -}}
{{- with $values.autoscaling -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- fail (printf "%s.autoscaling.minReplicas is %d, more than maxReplicas, which is %d" $spec.values (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "sextant.guards.datastore" -}}
{{- with .Values.datastore -}}
{{- $own := dict "postgres" "schema" "mysql" "database" -}}
{{- if hasKey $own .type -}}
{{- $key := get $own .type -}}
{{- $server := index . .type -}}
{{- if not $server.host -}}
{{- fail (printf "datastore.type is %s, but datastore.%s.host is empty: set it to the server's name, as its certificate has it" .type .type) -}}
{{- end -}}
{{- if not (regexMatch "^[a-z][a-z0-9_]{0,62}$" (index $server $key)) -}}
{{- fail (printf "datastore.type is %s, but datastore.%s.%s is %q: set it to a %s of this control plane alone, of lower-case letters, digits and '_'" .type .type $key (index $server $key) $key) -}}
{{- end -}}
{{- if not $server.caSecret.name -}}
{{- fail (printf "datastore.type is %s, but datastore.%s.caSecret.name is empty: the connection is always TLS; name a Secret with the authorities of the server's certificate" .type .type) -}}
{{- end -}}
{{- else if eq .type "etcd" -}}
{{- if not .etcd.endpoints -}}
{{- fail "datastore.type is etcd, but datastore.etcd.endpoints is empty: set it to host:port of each member" -}}
{{- end -}}
{{- if not .etcd.tlsSecret.name -}}
{{- fail "datastore.type is etcd, but datastore.etcd.tlsSecret.name is empty: the connection is always TLS; name a Secret with ca.crt, and tls.crt and tls.key where etcd wants a client certificate" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "sextant.guards.reach" -}}
{{- $public := .Values.public -}}
{{- range $name, $ours := pick $public "apiserver" "supervisor" -}}
{{- if not $ours.endpoint -}}
{{- if eq $ours.service.type "NodePort" -}}
{{- fail (printf "public.%s.service.type is NodePort, but public.%s.endpoint is empty: set it to the address of a hosting node and the port there, as 198.51.100.7:30643, and public.%s.service.nodePort to that port" $name $name $name) -}}
{{- end -}}
{{- range $way := list "gateway" "ingress" -}}
{{- if (index $public $way).enabled -}}
{{- fail (printf "public.%s.enabled is true, but public.%s.endpoint is empty: the route goes by its host name; set it to name:port" $way $name) -}}
{{- end -}}
{{- end -}}
{{- else if and (or $public.gateway.enabled $public.ingress.enabled) (regexMatch "^([0-9.]+|\\[.*\\]):[0-9]+$" $ours.endpoint) -}}
{{- fail (printf "public.%s.endpoint is %q, but routes go by the host name in TLS, which an address isn't: set it to name:port" $name $ours.endpoint) -}}
{{- end -}}
{{- end -}}
{{- if and $public.gateway.enabled (not $public.gateway.parentRefs) -}}
{{- fail "public.gateway.enabled is true, but public.gateway.parentRefs is empty: name the Gateway that the routes belong to" -}}
{{- end -}}
{{- if and (or $public.gateway.enabled $public.ingress.enabled) (eq (include "sextant.public.apiserver" . | include "sextant.host") (include "sextant.public.supervisor" . | include "sextant.host")) -}}
{{- fail "public.apiserver.endpoint and public.supervisor.endpoint have the same host, but routes tell them apart by it: give each a name of its own" -}}
{{- end -}}
{{- end }}

{{/* Kubernetes moves one minor version at a time, and not back: its stored objects may be of the newer one. */}}
{{- define "sextant.guards.skew" -}}
{{- $new := index .Chart.Annotations "sextant.dev/kubernetes" -}}
{{- $running := lookup "apps/v1" "Deployment" .Release.Namespace (printf "%s-kube-apiserver" (include "sextant.fullname" .)) -}}
{{- $old := dig "metadata" "annotations" "sextant.dev/kubernetes" $new $running -}}
{{- $step := sub ((semver $new).Minor | int) ((semver $old).Minor | int) -}}
{{- if or (lt $step 0) (gt $step 1) -}}
{{- fail (printf "this chart brings Kubernetes %s, and %s runs %s: move one minor version at a time, and never back" $new (include "sextant.fullname" .) $old) -}}
{{- end -}}
{{- end }}
