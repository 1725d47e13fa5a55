"""One spec for many kernels: which of them is meant, what each one gets, and what is found for some."""
