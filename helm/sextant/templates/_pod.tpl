{{/* The pod of a part. */}}
{{- define "sextant.pod" -}}
{{- $values := .values -}}
metadata:
  labels:
    {{- include "sextant.partselector" . | nindent 4 }}
    {{- with $values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- with $values.podAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "sextant.fullname" .root }}-{{ .part }}
  # The trust bundle is read through the hosting API.
  automountServiceAccountToken: true
  # Variables such as SEXTANT_SUPERVISOR_SERVICE_HOST would be settings that no service knows.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .spec.grace }}
  securityContext:
    {{- include "sextant.podsecurity" . | nindent 4 }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with include "sextant.placement" $values | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $values.spreadOver }}
  topologySpreadConstraints:
    {{- range . }}
    - topologyKey: {{ . }}
      maxSkew: 1
      whenUnsatisfiable: {{ $values.whenUnsatisfiable }}
      labelSelector:
        matchLabels: {{- include "sextant.partselector" $ | nindent 10 }}
      {{- if eq (include "sextant.kind" $) "Deployment" }}
      matchLabelKeys: [pod-template-hash]
      {{- end }}
    {{- end }}
  {{- end }}
  containers:
    - name: {{ .part }}
      image: {{ include "sextant.image" (dict "root" .root "name" .part) }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      securityContext:
        {{- include "sextant.containersecurity" . | nindent 8 }}
      env: {{- include "sextant.environment" . | trim | nindent 8 }}
      ports:
        {{- range $name, $port := .spec.ports }}
        - {name: {{ $name }}, containerPort: {{ $port }}}
        {{- end }}
        - {name: admin, containerPort: 9090}
      # Until a part has been ready once, its events say what it waits for: kubelet shows what a program printed, and not
      # what a server answered. The program itself waits some seconds, so that readiness is noticed at once and there are few
      # events: kubelet leaves out those beyond 25 of a pod in five minutes. It waits as long as it takes.
      startupProbe:
        exec: {command: [{{ include "sextant.program" . }}, healthcheck, --wait=10]}
        periodSeconds: 1
        timeoutSeconds: 15
        failureThreshold: 2147483647
      readinessProbe:
        httpGet: {path: /readyz, port: admin}
        periodSeconds: 5
        timeoutSeconds: 3
      livenessProbe:
        httpGet: {path: /livez, port: admin}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      resources: {{- toYaml $values.resources | nindent 8 }}
      volumeMounts:
        - {name: run, mountPath: /run/sextant}
        {{- range include "sextant.volumes" . | fromYamlArray }}
        - {{ toYaml .mount | nindent 10 | trim }}
        {{- end }}
  volumes:
    # Keys of certificates are here alone, and end with the pod.
    - name: run
      emptyDir: {medium: Memory, sizeLimit: 16Mi}
    {{- range include "sextant.volumes" . | fromYamlArray }}
    {{- if .volume }}
    - {{ toYaml .volume | nindent 6 | trim }}
    {{- end }}
    {{- end }}
{{- end }}

{{/* The program that is a part's first process. */}}
{{- define "sextant.program" -}}
/usr/local/bin/{{ hasPrefix "kube-" .part | ternary "runner" .part }}
{{- end }}

{{/* Which hosting nodes a pod may run on. */}}
{{- define "sextant.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The restricted level of Pod Security, and the images' own user. */}}
{{- define "sextant.podsecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "sextant.containersecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}
