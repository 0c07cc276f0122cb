##@ The demonstration

.PHONY: demo
demo: venv ## Deploy a bad release of a real application under load, and roll it back
	@"$(PYTHON)" demo/demo.py

.PHONY: demo-down
demo-down: ## Remove every trace of the demonstration
	@"$(PYTHON)" demo/lab.py down --everything
