{{/* What all objects' names begin with. */}}
{{- define "sextant.fullname" -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
{{- $name = contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) -}}
{{- end -}}
{{- /* The longest suffix makes a Service's name, which has at most 63 characters. */ -}}
{{- if or (gt (len $name) 34) (not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $name)) -}}
{{- fail (printf "objects can't be named after %q: set fullnameOverride to at most 34 lower-case letters, digits and '-' that begin with a letter" $name) -}}
{{- end -}}
{{- $name -}}
{{- end }}

{{/* What a name without a namespace begins with. No namespace holds a dot, so that two planes never share one. */}}
{{- define "sextant.clustername" -}}
{{ .Release.Namespace }}.{{ include "sextant.fullname" . }}
{{- end }}

{{- define "sextant.labels" -}}
{{ include "sextant.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Labels of all pods of this control plane. */}}
{{- define "sextant.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* An image by its name. */}}
{{- define "sextant.image" -}}
{{ .root.Values.image.prefix }}/{{ .name }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- define "sextant.audience" -}}
{{ .Values.hosting.audience | default (printf "sextant:%s:%s" .Release.Namespace (include "sextant.fullname" .)) }}
{{- end }}

{{/* `host:port` of kube-apiserver and of the supervisor, from outside. */}}
{{- define "sextant.public.apiserver" -}}
{{ .Values.public.apiserver.endpoint | default (printf "%s-kube-apiserver.%s.svc:6443" (include "sextant.fullname" .) .Release.Namespace) }}
{{- end }}

{{- define "sextant.public.supervisor" -}}
{{ .Values.public.supervisor.endpoint | default (printf "%s-supervisor-public.%s.svc:9443" (include "sextant.fullname" .) .Release.Namespace) }}
{{- end }}

{{/* The host of `host:port`; an IPv6 address without its brackets. */}}
{{- define "sextant.host" -}}
{{ regexReplaceAll ":[0-9]+$" . "" | trimPrefix "[" | trimSuffix "]" }}
{{- end }}

{{/* Every name of a Service in the hosting cluster, as JSON. */}}
{{- define "sextant.servicenames" -}}
{{- $name := printf "%s-%s" (include "sextant.fullname" .root) .part -}}
{{- $inNamespace := printf "%s.%s" $name .root.Release.Namespace -}}
{{ list $name $inNamespace (printf "%s.svc" $inNamespace) (printf "%s.svc.%s" $inNamespace .root.Values.hosting.domain) | toJson }}
{{- end }}
