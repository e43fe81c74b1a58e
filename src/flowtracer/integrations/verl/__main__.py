from flowtracer.integrations.verl.launch import main

main()
