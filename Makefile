# Every target is one line of xtask; `cargo xtask help` tells more.
.PHONY: up down clean-cluster images test bench-up docs help

up: ## Build what is missing and start the dev cluster
	@cargo xtask up

down: ## Stop the dev cluster and keep its data
	@cargo xtask down

clean-cluster: ## Stop the dev cluster and remove its data
	@cargo xtask clean-cluster

images: ## Build all images and print their sizes
	@cargo xtask images

test: ## Run the whole test suite
	@cargo xtask test

bench-up: ## Time a warm start beside bare upstream; prints a table, writes JSON
	@cargo xtask bench-up

docs: ## Write the configuration reference from the code
	@cargo xtask docs

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'
