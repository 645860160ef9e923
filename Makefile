# Every target is one line of xtask; `cargo xtask help` tells more.
.PHONY: up down clean-cluster hosted images test bench-up bench-datastore bench-fleet bench-telemetry bench-scale docs help

up: ## Build what is missing and start the dev cluster; OBSERVABILITY=1 adds what observes it
	@cargo xtask up $(if $(OBSERVABILITY),--observability)

down: ## Stop the dev cluster and keep its data
	@cargo xtask down

clean-cluster: ## Stop the dev cluster and remove its data
	@cargo xtask clean-cluster

hosted: ## Host a second control plane in the dev cluster, with a node; ARGS="--name tenant-b"
	@cargo xtask hosted $(ARGS)

images: ## Build all images and print their sizes
	@cargo xtask images

test: ## Run the whole test suite
	@cargo xtask test

bench-up: ## Time a warm start beside bare upstream; prints a table, writes JSON
	@cargo xtask bench-up

bench-datastore: ## Measure datastore-proxy beside etcd and kine; ARGS="-- --only list --rounds 1"
	@cargo xtask bench-datastore $(ARGS)

bench-scale: ## Measure what more replicas of each part buy; ARGS="-- --only supervisor --seconds 5"
	@cargo xtask bench-scale $(ARGS)

bench-fleet: ## Measure hosted control planes side by side; N=5, ARGS="--set kubeScheduler.replicas=2"
	@cargo xtask bench-fleet --planes $(or $(N),3) $(ARGS)

bench-telemetry: ## Measure what telemetry costs each service, everything exported against nothing
	@cargo xtask bench-telemetry $(ARGS)

docs: ## Write the configuration reference from the code
	@cargo xtask docs

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'
