print("kcopyfs")
